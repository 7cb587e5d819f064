use std::error::Error;
use std::fmt;

use tidings_transport::TransportError;

use super::lifecycle::ShutdownReport;

/// Why a bus could not be built: everything wrong with its settings at once, or the transport.
#[derive(Debug)]
pub struct BuildError(pub(super) Cause);

/// Why a bus could not start: everything wrong with its registrations at once, or the transport.
#[derive(Debug)]
pub struct StartError(pub(super) Cause);

#[derive(Debug)]
pub(super) enum Cause {
    Listed(Vec<String>),
    Transport(TransportError),
}

impl Cause {
    fn problems(&self) -> &[String] {
        match self {
            Self::Listed(problems) => problems,
            Self::Transport(_) => &[],
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        f.write_str(what)?;
        for problem in self.problems() {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }

    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listed(_) => None,
            Self::Transport(error) => Some(error),
        }
    }
}

macro_rules! listing {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Every problem found; each names the setting, its value and the fix. Empty when the
            /// transport failed: see the source.
            #[must_use]
            pub fn problems(&self) -> &[String] {
                self.0.problems()
            }

            pub(super) fn listed(problems: Vec<String>) -> Self {
                Self(Cause::Listed(problems))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, $what)
            }
        }

        impl Error for $name {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.0.source()
            }
        }

        impl From<TransportError> for $name {
            fn from(error: TransportError) -> Self {
                Self(Cause::Transport(error))
            }
        }
    };
}

listing!(BuildError, "the bus could not be built");
listing!(StartError, "the bus could not start");

/// Waiting here would never end: the handler that waits is one of those it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a handler waits for {what}, which waits for that handler: spawn a task for it instead")]
pub struct WouldDeadlock {
    pub(super) what: &'static str,
}

/// A shutdown that left something unfinished (contract S2).
#[derive(Debug)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Called inside a handler, which the shutdown would wait for.
    WouldDeadlock(WouldDeadlock),
    /// Something was not finished by the deadline; the report lists it.
    Unfinished(ShutdownReport),
}

impl ShutdownError {
    /// What was finished and what was not, unless it was called inside a handler.
    #[must_use]
    pub fn report(&self) -> Option<&ShutdownReport> {
        match self {
            Self::WouldDeadlock(_) => None,
            Self::Unfinished(report) => Some(report),
        }
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldDeadlock(error) => error.fmt(f),
            Self::Unfinished(report) => write!(f, "the bus was shut down with work left: {report}"),
        }
    }
}

impl Error for ShutdownError {}

/// Why [`Bus::run`](super::Bus::run) ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The bus could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process's signals cannot be listened to.
    #[error("signals cannot be listened to")]
    Signals(#[from] std::io::Error),
    /// The shutdown left something unfinished.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// A second signal came while the first one's shutdown was draining.
    #[error("a second signal ended the shutdown before it was done")]
    Aborted,
}
