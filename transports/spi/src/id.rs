use std::hash::{Hash, Hasher};
use std::{borrow::Borrow, fmt, sync::Arc};

use uuid::{Builder, Uuid};

use crate::{Timestamp, TraceContext, trace::hex};

/// The id of an event: made once, with the event, and never changed (P4).
///
/// Fresh ids are UUIDv7, kept as sixteen bytes; an id that somebody else made is an opaque string.
/// Two ids are equal when their texts are.
///
/// ```
/// use tidings_transport::EventId;
///
/// let id = EventId::from("evt_01HZ9K2M3X");
/// assert_eq!(id.to_string(), "evt_01HZ9K2M3X");
/// ```
#[derive(Clone)]
pub struct EventId {
    text: Repr,
    fresh: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// A UUID's canonical text, always kept as its sixteen bytes.
    Uuid(Uuid),
    Other(Arc<str>),
}

impl EventId {
    /// A fresh UUIDv7 for an event that happens at `time`.
    pub fn fresh(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0);
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let text = Repr::Uuid(Builder::from_unix_timestamp_millis(millis, &random).into_uuid());
        Self { text, fresh: true }
    }

    /// Whether [`fresh`](Self::fresh) made it in this process: then no other event can have it.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The same id, no longer fresh: somebody chose it for another event or another try.
    #[must_use]
    pub fn reused(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// The moment a UUIDv7 carries, to the millisecond; `None` for an opaque id.
    pub fn time(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.uuid()?.get_timestamp()?.to_unix();
        let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        let micros = micros.checked_add(i64::from(nanos / 1_000))?;
        Some(Timestamp::from_micros(micros))
    }

    /// The trace that an event without a trace context of its own starts, derived from its id so
    /// that every reader derives the same one; `None` for an opaque id.
    pub fn derived_trace(&self) -> Option<TraceContext> {
        let (high, low) = self.uuid()?.as_u64_pair();
        // The span id must differ from the trace id's halves and may not be zero.
        let span = (high ^ low.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        TraceContext::new(self.uuid()?.as_u128(), span, 0)
    }

    /// Runs `f` on the text without allocating.
    pub fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match &self.text {
            Repr::Uuid(id) => f(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Repr::Other(text) => f(text),
        }
    }

    /// Reads a UUID's canonical text: lower-case digits in groups of 8, 4, 4, 4 and 12.
    pub(crate) fn canonical(text: &[u8]) -> Option<Self> {
        const BYTES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let text: &[u8; 36] = text.try_into().ok()?;
        let hyphens = [8, 13, 18, 23].map(|at| text[at]) == *b"----";
        let id = hex(text, |byte| BYTES[byte]).filter(|_| hyphens)?;
        let text = Repr::Uuid(Uuid::from_bytes(id));
        Some(Self { text, fresh: false })
    }

    fn uuid(&self) -> Option<Uuid> {
        match self.text {
            Repr::Uuid(id) => Some(id),
            Repr::Other(_) => None,
        }
    }
}

/// Reading back: a UUID's canonical text becomes the compact form, every other stays as it is.
impl<T: AsRef<str>> From<T> for EventId {
    fn from(text: T) -> Self {
        let text = text.as_ref();
        Self::canonical(text.as_bytes()).unwrap_or_else(|| Self {
            text: Repr::Other(text.into()),
            fresh: false,
        })
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for EventId {}

impl<T: Borrow<str> + ?Sized> PartialEq<T> for EventId {
    fn eq(&self, other: &T) -> bool {
        self.with_str(|text| text == other.borrow())
    }
}

impl Hash for EventId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| f.pad(text))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| fmt::Debug::fmt(text, f))
    }
}
