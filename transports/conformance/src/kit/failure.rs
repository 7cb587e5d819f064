use std::error::Error;

use tidings_transport::{Malformed, PublishError, TransportError};

/// What a case found.
pub(crate) type Verdict = Result<(), Failure>;

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The property does not hold; the text says what was seen.
    Broken(String),
    /// The transport refused what the property is about, as it may.
    Inapplicable(String),
}

/// The property does not hold.
pub(crate) fn broken(text: impl Into<String>) -> Failure {
    Failure::Broken(text.into())
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        broken(format!("{:?} error: {}", error.kind(), chain(&error)))
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        broken(chain(&error))
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        broken(chain(&error))
    }
}

/// Ends the case with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::kit::broken(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;
