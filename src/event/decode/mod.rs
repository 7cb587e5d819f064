//! From bytes to an event: the one place where that happens, and what can go wrong there.
//!
//! Handlers, dead letters and replays all pass [`decode`], so that the same bytes mean the same
//! event, or the same error, wherever they are read (contract V2).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::Event;
use crate::text::panic_message;

mod error;

pub use error::{DecodeError, DecodeErrorKind};

/// The encoded data of one event, in the version it was written in.
///
/// What [`Event::from_version`] reads from. The derive writes that function; write it by hand to
/// read old versions in your own way.
///
/// ```
/// use serde::Deserialize;
/// use tidings::{Body, DecodeErrorKind};
///
/// #[derive(Debug, Deserialize)]
/// struct Paid { order: String }
///
/// # #[cfg(feature = "json")] {
/// let paid: Paid = Body::new(br#"{"order":"ord-1"}"#).decode()?;
/// assert_eq!(paid.order, "ord-1");
///
/// let error = Body::new(br#"{"order":1}"#).decode::<Paid>().unwrap_err();
/// assert_eq!(error.kind(), DecodeErrorKind::Data);
/// assert_eq!(error.path(), Some("order"));
/// # }
/// # Ok::<(), tidings::DecodeError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// The data of an event as it came, JSON in UTF-8.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they came.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Reads the data as a `T`.
    ///
    /// Members that `T` does not know are ignored, as far as they are sound: the limits hold for
    /// the whole body, whatever `T` looks at. At most 64 arrays and objects inside each other, no
    /// key twice in one object, numbers within the range of `f64` and 1,024 bytes, no half of a
    /// surrogate pair.
    ///
    /// # Errors
    ///
    /// What [`DecodeErrorKind`] lists from [`Syntax`](DecodeErrorKind::Syntax) on. The error names
    /// keys, never values; a message that `T`'s own `Deserialize` writes is kept as it is.
    ///
    /// # Panics
    ///
    /// Only if `T`'s `Deserialize` does. Inside [`Event::from_version`] the bus catches that.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        crate::codec::json::from_slice(self.0)
    }
}

/// The length only: data may be private.
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// Decodes data that was written in `version` into the `E` of this program.
// contract: D8 (an error here is a dead letter at once), V2
pub(crate) fn decode<E: Event>(version: u32, data: &[u8]) -> Result<E, DecodeError> {
    if version > E::VERSION {
        return Err(DecodeError::future(E::NAME, version, E::VERSION));
    }
    let body = Body::new(data);
    // The closure only reads, so nothing half-changed is seen after a panic.
    match catch_unwind(AssertUnwindSafe(|| E::from_version(version, &body))) {
        Ok(decoded) => decoded,
        Err(panic) if version == E::VERSION => Err(DecodeError::new(
            DecodeErrorKind::Data,
            format_args!(
                "decoding {} version {version} {}",
                E::NAME,
                panic_message(panic)
            ),
        )),
        Err(panic) => Err(DecodeError::upcast(
            E::NAME,
            version,
            E::VERSION,
            panic_message(panic),
        )),
    }
}

#[cfg(test)]
mod tests;
