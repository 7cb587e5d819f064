use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::text::{chain, panic_message, safe};

/// Any error, boxed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What kind of failure an attempt was; it decides what follows (contract R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// May pass: retried with backoff. What every error is unless somebody says otherwise.
    Transient,
    /// Will not pass: dead-lettered at once.
    Permanent,
    /// The other side asked for patience: retried after at least this long, at no cost in
    /// attempts.
    RateLimited(Duration),
    /// The handler panicked: retried, at most three panics.
    Panic,
    /// The handler overran its deadline: retried.
    Timeout,
}

impl Class {
    /// A stable word for logs and dead letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::RateLimited(_) => "rate_limited",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
        }
    }
}

/// Why a handler failed: its error, with the type it had, and a [`Class`].
///
/// Every error converts into a transient one with `?`; [`permanent`] and [`rate_limited`] say
/// otherwise. It is no `std::error::Error` itself, which is what lets `?` take every error.
///
/// ```
/// use tidings::{Failure, permanent};
///
/// fn parse(amount: &str) -> Result<u64, Failure> {
///     amount.parse().map_err(permanent)
/// }
/// assert!(parse("12").is_ok());
/// assert!(parse("much").is_err());
/// ```
pub struct Failure {
    class: Class,
    error: Box<dyn Held>,
}

/// A failure that no retry can mend: the event goes straight to the dead letters.
#[must_use]
pub fn permanent<E: Into<BoxError> + Send + 'static>(error: E) -> Failure {
    Failure::new(Class::Permanent, error)
}

/// A failure because of a rate limit: tried again no earlier than `after`, at no cost in attempts
/// until 15 minutes of such waits have added up.
#[must_use]
pub fn rate_limited<E: Into<BoxError> + Send + 'static>(error: E, after: Duration) -> Failure {
    Failure::new(Class::RateLimited(after), error)
}

impl Failure {
    pub(crate) fn new<E: Into<BoxError> + Send + 'static>(class: Class, error: E) -> Self {
        Self {
            class,
            error: Box::new(Kept(error)),
        }
    }

    /// Its class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The handler's own error, if it is of type `E`: exactly what the handler returned, before
    /// any conversion.
    #[must_use]
    pub fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        self.error.as_any().downcast_ref()
    }

    /// The error, boxed.
    #[must_use]
    pub fn into_error(self) -> BoxError {
        self.error.into_error()
    }

    pub(crate) fn reclassify(&mut self, class: Class) {
        self.class = class;
    }

    /// The error's text with its sources, fit to be shown. Its conversion, its `Display` and its
    /// drop code are the user's and may panic.
    pub(crate) fn into_text(self) -> String {
        let spent = catch_unwind(AssertUnwindSafe(|| self.error.into_error()));
        let error = match spent {
            Ok(error) => error,
            Err(panic) => return safe(&panic_message(panic)),
        };
        let text = chain(&*error);
        match catch_unwind(AssertUnwindSafe(|| drop(error))) {
            Ok(()) => text,
            Err(panic) => safe(&format!(
                "{text} (and {} while dropped)",
                panic_message(panic)
            )),
        }
    }
}

impl<E: Into<BoxError> + Send + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Class::Transient, error)
    }
}

/// The class only: an error's text may be private.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// An error with its type kept, so that a classifier sees what the handler returned: boxing an
/// `anyhow::Error`, for one, would lose what it holds.
trait Held: Send {
    fn as_any(&self) -> &dyn Any;
    fn into_error(self: Box<Self>) -> BoxError;
}

struct Kept<E>(E);

impl<E: Into<BoxError> + Send + 'static> Held for Kept<E> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn into_error(self: Box<Self>) -> BoxError {
        self.0.into()
    }
}
