use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Envelope, Headers};

/// The data of a message: encoded, or still the program's own value.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Encoded data.
    Bytes(Bytes),
    /// The value itself with the means to encode it: a memory transport moves it, a broker asks
    /// for bytes through [`Message::into_wire`](crate::Message::into_wire).
    Local(Local),
    /// No data at all: a tombstone, which on a compacted topic removes what its key names.
    Tombstone,
}

/// A value of this process and its encoder.
#[derive(Clone)]
pub struct Local {
    /// The event.
    pub value: Arc<dyn Any + Send + Sync>,
    /// Turns it into bytes.
    pub encoder: Arc<dyn Encode>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Turns a local value into what goes over the wire.
pub trait Encode: Send + Sync + 'static {
    /// Encodes the value with its envelope.
    ///
    /// # Contract
    ///
    /// Pure: the same value and envelope give the same bytes. Never panics: a panic of the user's
    /// serialiser is an [`EncodeError`].
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the value has no encoding.
    fn encode(
        &self,
        value: &(dyn Any + Send + Sync),
        envelope: &Envelope,
    ) -> Result<Encoded, EncodeError>;
}

/// An encoded event.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The raw envelope fields that travel beside the body, without a transport's prefix: all of
    /// them in binary mode, only the content type where the body holds the envelope.
    pub fields: Headers,
    /// The body.
    pub body: Bytes,
}

/// A value that has no encoding.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EncodeError {
    message: String,
    non_finite: bool,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EncodeError {
    /// What could not be encoded and how to mend it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), non_finite: false, source: None }
    }

    /// A NaN or infinity, which JSON cannot carry; the text says where.
    #[must_use]
    pub fn non_finite(message: impl Into<String>) -> Self {
        Self { non_finite: true, ..Self::new(message) }
    }

    /// Whether a NaN or infinity is the reason.
    #[must_use]
    pub fn is_non_finite(&self) -> bool {
        self.non_finite
    }

    /// The serialiser's own error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
