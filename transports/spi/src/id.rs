use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use uuid::Uuid;

use crate::{Timestamp, TraceContext};

/// The id of an event: made once, with the event, and never changed (contract P4).
///
/// Fresh ids are UUIDv7, kept as sixteen bytes; an id that somebody else made is an opaque
/// string. Two ids are equal when their texts are.
///
/// ```
/// use tidings_transport::EventId;
///
/// let id = EventId::from("evt_01HZ9K2M3X");
/// assert_eq!(id.to_string(), "evt_01HZ9K2M3X");
/// ```
#[derive(Clone)]
pub struct EventId(Repr);

#[derive(Clone)]
enum Repr {
    /// Made here and not yet seen by anybody else.
    Fresh(Uuid),
    Uuid(Uuid),
    Text(Arc<str>),
}

impl EventId {
    /// A fresh UUIDv7 for an event that happens at `time`.
    #[must_use]
    pub fn fresh(time: Timestamp) -> Self {
        let mut random = [0_u8; 10];
        random[..8].copy_from_slice(&fastrand::u64(..).to_le_bytes());
        random[8..].copy_from_slice(&fastrand::u16(..).to_le_bytes());
        let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0);
        Self(Repr::Fresh(
            uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
        ))
    }

    /// Whether [`fresh`](Self::fresh) made it in this process: then no other event can have it.
    #[must_use]
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
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        match &self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => {
                let (seconds, nanos) = id.get_timestamp()?.to_unix();
                let seconds = i64::try_from(seconds).ok()?;
                Some(Timestamp::from_micros(
                    seconds
                        .checked_mul(1_000_000)?
                        .checked_add(i64::from(nanos / 1_000))?,
                ))
            }
            Repr::Text(_) => None,
        }
    }

    /// The trace that an event without a trace context of its own starts, derived from its id so
    /// that every reader derives the same one; `None` for an opaque id.
    #[must_use]
    pub fn derived_trace(&self) -> Option<TraceContext> {
        match &self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => {
                let (high, low) = id.as_u64_pair();
                // The span id must differ from the trace id's halves and may not be zero.
                let span = (high ^ low.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                TraceContext::new(id.as_u128(), span, 0)
            }
            Repr::Text(_) => None,
        }
    }

    /// Runs `f` on the text without allocating.
    pub fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => f(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Repr::Text(text) => f(text),
        }
    }
}

/// Reading back: a text in a UUID's canonical form becomes the compact form, all other texts stay
/// as they are.
impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        match Uuid::try_parse(text) {
            Ok(id)
                if id
                    .hyphenated()
                    .encode_lower(&mut Uuid::encode_buffer())
                    .as_bytes()
                    == text.as_bytes() =>
            {
                Self(Repr::Uuid(id))
            }
            _ => Self(Repr::Text(text.into())),
        }
    }
}

impl From<String> for EventId {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&EventId> for EventId {
    fn from(id: &EventId) -> Self {
        id.clone()
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Fresh(a) | Repr::Uuid(a), Repr::Fresh(b) | Repr::Uuid(b)) => a == b,
            (Repr::Text(a), Repr::Text(b)) => a == b,
            // Canonical UUID texts are always stored compact, so the texts differ.
            _ => false,
        }
    }
}

impl Eq for EventId {}

impl Hash for EventId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Fresh(id) | Repr::Uuid(id) => state.write_u128(id.as_u128()),
            Repr::Text(text) => text.hash(state),
        }
    }
}

impl PartialEq<str> for EventId {
    fn eq(&self, other: &str) -> bool {
        self.with_str(|text| text == other)
    }
}

impl PartialEq<&str> for EventId {
    fn eq(&self, other: &&str) -> bool {
        self == *other
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_id_carries_its_time_and_survives_the_wire() {
        let time = Timestamp::from_micros(1_773_152_640_123_000);
        let id = EventId::fresh(time);
        assert_eq!(id.time(), Some(time));
        assert_eq!(EventId::from(id.to_string()), id);
        assert!(id.derived_trace().is_some());
    }

    #[test]
    fn an_upper_case_uuid_stays_the_text_it_was() {
        let text = "0190A5B2-0000-7000-8000-000000000001";
        assert_eq!(EventId::from(text).to_string(), text);
        assert_ne!(
            EventId::from(text),
            EventId::from(text.to_lowercase().as_str())
        );
    }
}
