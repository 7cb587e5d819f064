//! Dead letters: why, how they are written, how they are read.

mod read;
mod write;

use std::fmt;

use tidings_transport::Timestamp;

pub use read::{DeadLetter, DeadLetters};
pub(crate) use write::letter;

/// Why an event was dead-lettered; its text is the header `tidings-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It could not be decoded; the word says how (`not_json`, `future_version`, `upcast`, …).
    Decode(&'static str),
    /// Its handler failed for good; the word says how (`exhausted`, `permanent`, …).
    Handler(&'static str),
    /// Its id was seen before with another payload (contract X6).
    IdCollision,
    /// Too many handlers in a row led to it.
    HopLimit,
}

impl Reason {
    /// A stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode(word) | Self::Handler(word) => word,
            Self::IdCollision => "id_collision",
            Self::HopLimit => "hop_limit",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why, with what is known about the failure. The error text is already fit to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) error: String,
    pub(crate) attempts: u32,
    pub(crate) first_failure: Option<Timestamp>,
}

impl Cause {
    pub(crate) fn new(reason: Reason, error: String, attempts: u32) -> Self {
        Self {
            reason,
            error,
            attempts,
            first_failure: None,
        }
    }
}
