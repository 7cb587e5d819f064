use thiserror::Error;

use crate::Name;

/// Headers that no transport can carry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is empty, longer than 255 bytes or has a control character.
    #[error("header name {0:?} is not allowed: use 1 to 255 bytes without control characters")]
    Name(Name),
    /// All names and values together are too large.
    #[error(
        "headers of {size} bytes are over the limit of {limit} bytes: send less, or put it in the payload"
    )]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// An envelope field whose value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("envelope field {field} is {value:?}, expected {expected}")]
#[non_exhaustive]
pub struct Malformed {
    /// The field's name.
    pub field: &'static str,
    /// Its value, at most 128 characters of it.
    pub value: String,
    /// What it should have been.
    pub expected: &'static str,
}

impl Malformed {
    /// The field, its value (kept to 128 characters) and what was expected.
    pub fn new(field: &'static str, value: &str, expected: &'static str) -> Self {
        Self {
            field,
            value: value.chars().take(128).collect(),
            expected,
        }
    }
}
