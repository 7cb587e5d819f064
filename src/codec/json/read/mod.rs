//! From bytes to a value.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::explain;
use super::scan::scan;
use crate::event::{DecodeError, DecodeErrorKind};

/// Arrays and objects inside each other, the outermost counted.
pub(crate) const MAX_DEPTH: usize = 64;

/// Reads a body as a `T`.
pub(crate) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let text = sound(body, MAX_DEPTH)?;
    // The text is known to be UTF-8 now, which saves the parser a check per string: that pays for
    // a part of the pass before.
    serde_json::from_str(text).map_err(|error| explain::mismatch::<T>(text, &error))
}

/// Parses a text that borrows from the body, where anything wrong is a syntax error.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|error| explain::syntax(&error))
}

/// The body as text, if it is sound, with `depth` arrays and objects inside each other allowed.
/// Whether it is JSON at all is not settled before it is parsed.
pub(crate) fn sound(body: &[u8], depth: usize) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        DecodeError::new(
            DecodeErrorKind::Utf8,
            format_args!("the body is not UTF-8 at byte {at}: send JSON in UTF-8"),
        )
    })?;
    match scan(text, depth) {
        Ok(()) => Ok(text),
        Err(flaw) => Err(explain::flaw(*flaw, text, depth)),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
