use std::error::Error;

use thiserror::Error;

use crate::HeaderError;

pub(crate) type Result<T, E = TransportError> = std::result::Result<T, E>;

/// A publish that is not Ok: NotPublished or Unknown (P1).
#[derive(Debug, Error)]
#[error("the event {} published", if *unknown { "may or may not have been" } else { "was not" })]
pub struct PublishError {
    unknown: bool,
    #[source]
    reason: Reason,
}

/// Why a publish is not Ok.
#[derive(Debug, Error)]
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
    /// A handler that replays what was wanted to publish once more (Y2).
    #[error(
        "handlers publish nothing during a replay: what they once published is there; allow it with `.emits_in_replay()`"
    )]
    Replay,
    /// The deadline passed.
    #[error("no answer within the publish deadline")]
    Timeout,
    /// Something else in the transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl PublishError {
    /// No consumer will ever see it.
    pub fn not_published(reason: impl Into<Reason>) -> Self {
        Self {
            unknown: false,
            reason: reason.into(),
        }
    }

    /// Some consumer may see it.
    pub fn unknown(reason: impl Into<Reason>) -> Self {
        Self {
            unknown: true,
            reason: reason.into(),
        }
    }

    /// Whether a consumer may see the event all the same; retry with the same id.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Why, by value.
    pub fn into_reason(self) -> Reason {
        self.reason
    }
}

/// What went wrong in a transport, in terms that all transports share.
#[derive(Debug, Error)]
#[error("{message}")]
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
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The client library's own error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether trying the same again later can succeed.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::{Connection, Full, Timeout};
        matches!(self.kind, Connection | Timeout | Full)
    }
}

/// A value that has no encoding.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct EncodeError {
    message: String,
    non_finite: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EncodeError {
    /// What could not be encoded and how to mend it.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            non_finite: false,
            source: None,
        }
    }

    /// A NaN or infinity, which JSON cannot carry; the text says where.
    pub fn non_finite(message: impl Into<String>) -> Self {
        Self {
            non_finite: true,
            ..Self::new(message)
        }
    }

    /// Whether a NaN or infinity is the reason.
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

/// A text that is no [`Pattern`](crate::Pattern).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no topic pattern: write words parted by dots, each a name, `*` or `#`")]
pub struct PatternError(pub(crate) String);
