use std::error::Error;
use std::fmt;

use crate::{EncodeError, HeaderError};

/// A publish that is not Ok: NotPublished or Unknown (contract P1).
#[derive(Debug)]
pub struct PublishError {
    unknown: bool,
    reason: Reason,
}

/// Why a publish is not Ok.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A queue is full and stayed so until the deadline, or it is the emitting group's own.
    #[error("the queue of group {group} is full{}", if *.own_queue { ": it is the emitting handler's own, so waiting would never end; emit less per event or raise the queue length" } else { "; wait, or raise the queue length" })]
    Full {
        /// The group whose queue is full.
        group: String,
        /// The queue belongs to the group whose handler emits.
        own_queue: bool,
    },
    /// The transport or the bus is shut down.
    #[error("the bus is shut down")]
    Closed,
    /// No queue would receive it.
    #[error("no queue is bound for topic {0:?}: start a group that handles it first")]
    Unroutable(String),
    /// The body is over the limit.
    #[error("payload of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A header cannot be carried.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A topic, key or other name is not allowed; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The value has no encoding.
    #[error("the event cannot be encoded")]
    Encode(#[from] EncodeError),
    /// The transport cannot do what was asked; the text names it and the fix.
    #[error("{0}")]
    Unsupported(String),
    /// The deadline passed.
    #[error("no answer within the publish deadline")]
    Timeout,
    /// Something else in the transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl PublishError {
    /// No consumer will ever see it.
    #[must_use]
    pub fn not_published(reason: impl Into<Reason>) -> Self {
        Self { unknown: false, reason: reason.into() }
    }

    /// Some consumer may see it.
    #[must_use]
    pub fn unknown(reason: impl Into<Reason>) -> Self {
        Self { unknown: true, reason: reason.into() }
    }

    /// Whether a consumer may see the event all the same; retry with the same id.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Why, by value.
    #[must_use]
    pub fn into_reason(self) -> Reason {
        self.reason
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.unknown {
            "the event may or may not have been published"
        } else {
            "the event was not published"
        })
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}

/// What went wrong in a transport, in terms that all transports share.
#[derive(Debug)]
pub struct TransportError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The broker cannot be reached now.
    Connection,
    /// Credentials are wrong.
    Auth,
    /// Credentials are right but the right is missing.
    Forbidden,
    /// A topic, queue or group does not exist.
    Missing,
    /// It exists otherwise than asked for.
    Conflict,
    /// A full queue or a reached limit.
    Full,
    /// The transport has no such feature.
    Unsupported,
    /// Messages between two positions are gone.
    DataLoss,
    /// Another instance took over.
    Fenced,
    /// No answer within the time allowed.
    Timeout,
    /// The transport is closed.
    Closed,
    /// A setting or a name is wrong.
    Config,
    /// None of the above.
    Other,
}

impl TransportError {
    /// An error of a kind; the message says what, which value, and the fix.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The client library's own error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether trying the same again later can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Full)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
