use std::hash::{Hash, Hasher};
use std::{borrow::Borrow, fmt, sync::Arc};

use uuid::Uuid;

use crate::{Timestamp, TraceContext, trace::hex};

/// The id of an event: made once, with the event, and never changed (P4).
///
/// Fresh ids are UUIDv7, kept as sixteen bytes; an id that somebody else made is an opaque string.
/// Two ids are equal when their texts are.
///
/// ```
/// use tidings_envelope::EventId;
///
/// let id = EventId::from("evt_01HZ9K2M3X");
/// assert_eq!(id.to_string(), "evt_01HZ9K2M3X");
/// ```
#[derive(Clone)]
pub struct EventId(Repr);

/// A UUID is kept as two words, because ids are moved about with every event.
#[derive(Clone)]
enum Repr {
    /// A UUID made here that nobody else has seen.
    Fresh([u64; 2]),
    /// A UUID's canonical text, always kept compact.
    Uuid([u64; 2]),
    Other(Arc<str>),
}

impl EventId {
    /// A fresh UUIDv7 for an event that happens at `time`.
    pub fn fresh(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0);
        let random = fastrand::u128(..);
        // RFC 9562: 48 bits of time, version 7, 12 random bits; variant 2, 62 random bits.
        let high = millis << 16 | 7 << 12 | (random >> 64) as u64 & 0xfff;
        let low = 2 << 62 | random as u64 >> 2;
        Self(Repr::Fresh([high, low]))
    }

    /// Whether [`fresh`](Self::fresh) made it in this process: then no other event can have it.
    #[inline]
    pub fn is_fresh(&self) -> bool {
        matches!(self.0, Repr::Fresh(_))
    }

    /// The same id, no longer fresh: somebody chose it for another event or another try.
    #[must_use]
    pub fn reused(self) -> Self {
        match self.0 {
            Repr::Fresh(id) => Self(Repr::Uuid(id)),
            other => Self(other),
        }
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
        let [high, low] = self.words()?;
        // The span id must differ from the trace id's halves and may not be zero.
        let span = (high ^ low.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        TraceContext::new(u128::from(high) << 64 | u128::from(low), span, 0)
    }

    /// Runs `f` on the text without allocating.
    pub fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Repr::Fresh([high, low]) | Repr::Uuid([high, low]) => {
                let id = Uuid::from_u64_pair(*high, *low);
                f(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            Repr::Other(text) => f(text),
        }
    }

    /// Reads a UUID's canonical text: lower-case digits in groups of 8, 4, 4, 4 and 12.
    pub(crate) fn canonical(text: &[u8]) -> Option<Self> {
        const BYTES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let text: &[u8; 36] = text.try_into().ok()?;
        let hyphens = [8, 13, 18, 23].map(|at| text[at]) == *b"----";
        let id = hex(text, |byte| BYTES[byte]).filter(|_| hyphens)?;
        let (high, low) = Uuid::from_bytes(id).as_u64_pair();
        Some(Self(Repr::Uuid([high, low])))
    }

    fn uuid(&self) -> Option<Uuid> {
        self.words()
            .map(|[high, low]| Uuid::from_u64_pair(high, low))
    }

    #[inline]
    fn words(&self) -> Option<[u64; 2]> {
        match self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => Some(id),
            Repr::Other(_) => None,
        }
    }
}

/// Reading back: a UUID's canonical text becomes the compact form, every other stays as it is.
impl<T: AsRef<str>> From<T> for EventId {
    fn from(text: T) -> Self {
        let text = text.as_ref();
        Self::canonical(text.as_bytes()).unwrap_or_else(|| Self(Repr::Other(text.into())))
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Other(a), Repr::Other(b)) => a == b,
            // Canonical texts are always kept compact, so a UUID equals no other text.
            _ => self.words().is_some() && self.words() == other.words(),
        }
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
        match &self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => id.hash(state),
            Repr::Other(text) => text.hash(state),
        }
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
