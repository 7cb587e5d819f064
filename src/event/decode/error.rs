use std::fmt::{self, Display};

use tidings_transport::{EncodeError, Malformed};

use crate::text::{chain, safe};

/// An event that cannot be read.
///
/// The message names the value at fault by its path, the limit and the mend, and never quotes
/// data. [`reason`](Self::reason) is the token that a dead letter carries.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    kind: DecodeErrorKind,
    message: Box<str>,
    path: Option<Box<str>>,
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// No handler of the group knows the event's name.
    UnknownType,
    /// Written by a newer producer than this program.
    FutureVersion,
    /// An older version without an upcaster, or one whose upcaster failed or panicked.
    Upcast,
    /// A field of the envelope cannot be read.
    Envelope,
    /// The body is not JSON.
    Syntax,
    /// More arrays and objects inside each other than allowed.
    TooDeep,
    /// The body is over the size limit.
    TooLarge,
    /// The body is not UTF-8.
    Utf8,
    /// JSON of another shape: a wrong type, a missing field.
    Data,
    /// There is no body, and it is no tombstone.
    Empty,
    /// A key stands twice in one object.
    DuplicateKey,
    /// A number is beyond the range of `f64`, or has too many digits.
    Number,
    /// This build of the program cannot read the body: the feature `json` is off.
    Unavailable,
}

impl DecodeErrorKind {
    /// The stable token that a dead letter carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::FutureVersion => "future_version",
            Self::Upcast => "upcast",
            Self::Envelope => "malformed_envelope",
            Self::Syntax => "not_json",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::Utf8 => "not_utf8",
            Self::Data => "wrong_data",
            Self::Empty => "empty",
            Self::DuplicateKey => "duplicate_key",
            Self::Number => "number",
            Self::Unavailable => "json_unavailable",
        }
    }
}

impl DecodeError {
    /// No upcaster leads from `version` of the event `name` to `current`, which this program has.
    #[must_use]
    pub fn no_upcaster(name: &str, version: u32, current: u32) -> Self {
        Self::new(
            DecodeErrorKind::Upcast,
            format_args!(
                "no upcaster leads from {name} version {version} to version {current}: add \
                 `upcast_from` for it, or send the event again in version {current}"
            ),
        )
    }

    /// The event `name` is in `version`, newer than `current`, which this program has.
    #[must_use]
    pub fn future(name: &str, version: u32, current: u32) -> Self {
        Self::new(
            DecodeErrorKind::FutureVersion,
            format_args!(
                "{name} version {version} is newer than version {current}, which this program \
                 knows: deploy the consumer that knows it, then redrive"
            ),
        )
    }

    /// The upcaster of the event `name` failed between two versions.
    #[must_use]
    pub fn upcast(name: &str, from: u32, to: u32, error: impl Display) -> Self {
        Self::new(
            DecodeErrorKind::Upcast,
            format_args!("upcasting {name} from version {from} to version {to} failed: {error}"),
        )
    }

    /// No handler knows the event `name`, found on `topic`; an empty name is a message that has
    /// none.
    #[must_use]
    pub fn unknown_type(name: &str, topic: &str) -> Self {
        if name.is_empty() {
            return Self::new(
                DecodeErrorKind::UnknownType,
                format_args!(
                    "a message on topic {topic:?} has no event type and no single event owns the \
                     topic: send the envelope, or declare a mapping for the topic"
                ),
            );
        }
        Self::new(
            DecodeErrorKind::UnknownType,
            format_args!(
                "no handler knows the event type {:?} on topic {topic:?}: register one, or set the \
                 topic explicitly where types share it",
                name.chars().take(128).collect::<String>()
            ),
        )
    }

    /// The body has `size` bytes, over the `limit`.
    #[must_use]
    pub fn too_large(size: usize, limit: usize) -> Self {
        Self::new(
            DecodeErrorKind::TooLarge,
            format_args!("a body of {size} bytes is over the limit of {limit} bytes"),
        )
    }

    /// An envelope that cannot be read; the text says which field, its value and what belongs
    /// there. For a [`Codec`](crate::Codec) of one's own.
    #[must_use]
    pub fn envelope(message: impl Display) -> Self {
        Self::new(DecodeErrorKind::Envelope, message)
    }

    /// A body that cannot be read; the text says why. For a [`Codec`](crate::Codec) of one's own.
    #[must_use]
    pub fn new(kind: DecodeErrorKind, message: impl Display) -> Self {
        Self {
            kind,
            message: safe(&message.to_string()).into(),
            path: None,
        }
    }

    /// The part of a message that must be UTF-8 and is not, such as its key.
    pub(crate) fn not_utf8(part: &str) -> Self {
        Self::new(
            DecodeErrorKind::Utf8,
            format_args!("the {part} is not UTF-8: send UTF-8"),
        )
    }

    /// A record on `topic` that has nothing where its mapping looks.
    pub(crate) fn unmapped(topic: &str, pointer: &str) -> Self {
        Self::envelope(format_args!(
            "the record on topic {topic:?} has nothing fitting at {pointer:?}, where its mapping \
             looks: mend the producer or the mapping"
        ))
    }

    /// With the path of the value at fault.
    #[cfg(feature = "json")]
    pub(crate) fn at(mut self, path: Option<String>) -> Self {
        self.path = path.map(Into::into);
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The stable token that a dead letter carries, such as `too_deep`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind.as_str()
    }

    /// Where in the data, such as `items[0].price`, for the kind [`Data`](DecodeErrorKind::Data)
    /// below the outermost value.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({}: {})", self.reason(), self.message)
    }
}

impl From<Malformed> for DecodeError {
    fn from(malformed: Malformed) -> Self {
        Self::envelope(malformed)
    }
}

/// A value of this process that has no encoding, where its data was asked for.
impl From<EncodeError> for DecodeError {
    fn from(error: EncodeError) -> Self {
        Self::new(DecodeErrorKind::Data, chain(&error))
    }
}
