use crate::Failure;

/// What one attempt of a handler came to.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Handled.
    Done,
    /// Failed; the failure's class decides what follows.
    Failed(Failure),
}

/// What a handler may return: `()`, or a `Result` whose error is anything boxable.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not a handler's result",
    note = "return `()` or `Result<(), E>`, where `E` is an error that is `Send + Sync + 'static`",
    note = "`anyhow::Error`, `thiserror` types, `String` and `tidings::Failure` all are",
    note = "a listener's closure is not async: use `on` for async handlers"
)]
pub trait IntoOutcome {
    /// The outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    #[inline]
    fn into_outcome(self) -> Outcome {
        Outcome::Done
    }
}

/// A handler that never returns: `todo!()`, `panic!()`, an endless loop.
#[diagnostic::do_not_recommend]
impl IntoOutcome for Never {
    fn into_outcome(self) -> Outcome {
        match self {}
    }
}

/// The type `!`, which has no name in stable Rust beside a function's result.
type Never = <fn() -> ! as never::Returns>::Value;

mod never {
    pub trait Returns {
        type Value;
    }

    impl<T> Returns for fn() -> T {
        type Value = T;
    }
}

impl IntoOutcome for Outcome {
    #[inline]
    fn into_outcome(self) -> Outcome {
        self
    }
}

// Without this rustc would explain its way down to `std::error::Error` and hide the notes above.
#[diagnostic::do_not_recommend]
impl<E: Into<Failure>> IntoOutcome for Result<(), E> {
    #[inline]
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}
