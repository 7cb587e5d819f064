use std::fmt;

use bytes::Bytes;

use crate::{EventId, Headers, Name, Timestamp, TraceContext};

/// The names of the envelope's fields as raw strings: CloudEvents 1.0.2 attributes and extensions.
///
/// A transport puts its own prefix before them (`ce_` on Kafka, `cloudEvents_` on RabbitMQ), except
/// for [`CONTENT_TYPE`](field::CONTENT_TYPE), which has a native home everywhere.
///
/// Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.
pub mod field {
    /// The event's id.
    pub const ID: &str = "id";
    /// Who made the event.
    pub const SOURCE: &str = "source";
    /// The version of CloudEvents, always `1.0`.
    pub const SPEC_VERSION: &str = "specversion";
    /// The event's name.
    pub const TYPE: &str = "type";
    /// When it happened, RFC 3339.
    pub const TIME: &str = "time";
    /// The media type of the body.
    pub const CONTENT_TYPE: &str = "datacontenttype";
    /// The event's version, a positive integer.
    pub const VERSION: &str = "eventversion";
    /// The id shared by everything that one cause set off.
    pub const CORRELATION: &str = "correlationid";
    /// The id of the event whose handler emitted this one.
    pub const CAUSATION: &str = "causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// W3C trace state.
    pub const TRACESTATE: &str = "tracestate";
    /// How many handlers in a row led to this event.
    pub const HOPS: &str = "eventhops";
}

/// What an event says about itself, beside its data: a CloudEvents envelope, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Made with the event, never changed (P4).
    pub id: EventId,
    /// The declared name, the `type` of CloudEvents.
    pub name: Name,
    /// The declared version, from 1.
    pub version: u32,
    /// The service that made the event.
    pub source: Name,
    /// When it happened. `None` stands for the time that a UUIDv7 id carries.
    pub time: Option<Timestamp>,
    /// The media type of the encoded data.
    pub content_type: Name,
    /// Shared by everything that one cause set off. `None` stands for the event's own id.
    pub correlation: Option<EventId>,
    /// The event whose handler emitted this one.
    pub causation: Option<EventId>,
    /// The trace this event belongs to. `None` stands for the one derived from the id.
    pub trace: Option<TraceContext>,
    /// How many handlers in a row led here; bounds loops.
    pub hops: u16,
}

impl Envelope {
    /// An envelope with only what every event has.
    #[must_use]
    pub fn new(id: EventId, name: Name, version: u32, source: Name) -> Self {
        Self {
            id,
            name,
            version,
            source,
            time: None,
            content_type: Name::from_static("application/json"),
            correlation: None,
            causation: None,
            trace: None,
            hops: 0,
        }
    }

    /// When it happened, if that is known.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.time.or_else(|| self.id.time())
    }

    /// The correlation id: the event's own id where none was set.
    #[must_use]
    pub fn correlation(&self) -> &EventId {
        self.correlation.as_ref().unwrap_or(&self.id)
    }

    /// The trace: the one derived from the id where none was set; `None` only for an opaque id
    /// without one.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace.clone().or_else(|| self.id.derived_trace())
    }

    /// The raw fields of CloudEvents binary mode, without a transport's prefix.
    #[must_use]
    pub fn to_fields(&self) -> Headers {
        let text = |value: String| Bytes::from(value.into_bytes());
        let name = |value: &Name| Bytes::copy_from_slice(value.as_bytes());
        let mut fields = Vec::with_capacity(11);
        let mut put = |field, value| fields.push((Name::from_static(field), value));
        put(field::SPEC_VERSION, Bytes::from_static(b"1.0"));
        put(field::ID, text(self.id.to_string()));
        put(field::TYPE, name(&self.name));
        put(field::VERSION, text(self.version.to_string()));
        put(field::SOURCE, name(&self.source));
        put(field::CONTENT_TYPE, name(&self.content_type));
        put(field::CORRELATION, text(self.correlation().to_string()));
        if let Some(time) = self.time() {
            put(field::TIME, text(time.to_string()));
        }
        if let Some(causation) = &self.causation {
            put(field::CAUSATION, text(causation.to_string()));
        }
        if let Some(trace) = self.trace() {
            put(field::TRACEPARENT, text(trace.traceparent()));
            if let Some(state) = trace.tracestate() {
                put(field::TRACESTATE, Bytes::copy_from_slice(state.as_bytes()));
            }
        }
        if self.hops > 0 {
            put(field::HOPS, text(self.hops.to_string()));
        }
        fields.into_iter().collect()
    }

    /// Reads the raw fields of binary mode; `Ok(None)` when they name no event type, as a foreign
    /// producer's do. A missing id is replaced by `fallback_id`, a missing version reads as 1, a
    /// malformed trace context is ignored (W3C), a hop count too large is clamped.
    ///
    /// # Errors
    ///
    /// [`Malformed`] with the first field whose value cannot be read, value kept.
    pub fn parse(
        fields: &Headers,
        fallback_id: impl FnOnce() -> EventId,
    ) -> Result<Option<Self>, Malformed> {
        let Some(name) = text(fields, field::TYPE)? else {
            return Ok(None);
        };
        let id = text(fields, field::ID)?.filter(|id| !id.is_empty());
        let source = text(fields, field::SOURCE)?.unwrap_or_default();
        let version = text(fields, field::VERSION)?.map_or(Ok(1), parse_version)?;
        let mut envelope = Self::new(
            id.map_or_else(fallback_id, EventId::from),
            Name::from(name),
            version,
            Name::from(source),
        );
        if let Some(time) = text(fields, field::TIME)? {
            envelope.time = Some(time.parse()?);
        }
        if let Some(content_type) = text(fields, field::CONTENT_TYPE)? {
            envelope.content_type = Name::from(content_type);
        }
        envelope.correlation = text(fields, field::CORRELATION)?
            .map(EventId::from)
            .filter(|correlation| *correlation != envelope.id);
        envelope.causation = text(fields, field::CAUSATION)?.map(EventId::from);
        envelope.trace = fields
            .get_str(field::TRACEPARENT)
            .and_then(|parent| TraceContext::parse(parent, fields.get_str(field::TRACESTATE)));
        if let Some(hops) = text(fields, field::HOPS)? {
            let digits = !hops.is_empty() && hops.bytes().all(|digit| digit.is_ascii_digit());
            if !digits {
                return Err(Malformed::new(field::HOPS, hops, "a count"));
            }
            envelope.hops = hops.parse().unwrap_or(u16::MAX);
        }
        Ok(Some(envelope))
    }

    /// Reads a version as text: `2`, or `1.0` as other producers write it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for anything else, zero and numbers beyond 32 bits included.
    pub fn parse_version(text: &str) -> Result<u32, Malformed> {
        parse_version(text)
    }
}

/// How a message carries its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Typed, as the emitter made it: in this process.
    Local(Envelope),
    /// Raw fields without a transport's prefix, as they came: not yet parsed, maybe malformed,
    /// maybe empty.
    Raw(Headers),
}

impl Carried {
    /// The typed envelope, where there is one.
    #[must_use]
    pub fn local(&self) -> Option<&Envelope> {
        match self {
            Self::Local(envelope) => Some(envelope),
            Self::Raw(_) => None,
        }
    }

    /// The raw fields of binary mode.
    #[must_use]
    pub fn to_fields(&self) -> Headers {
        match self {
            Self::Local(envelope) => envelope.to_fields(),
            Self::Raw(fields) => fields.clone(),
        }
    }
}

/// An envelope field whose value cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("envelope field {field} is {value:?}, expected {expected}")]
pub struct Malformed {
    field: &'static str,
    value: String,
    expected: &'static str,
}

impl Malformed {
    /// The field, its value (kept to 128 characters) and what was expected.
    #[must_use]
    pub fn new(field: &'static str, value: &str, expected: &'static str) -> Self {
        Self { field, value: value.chars().take(128).collect(), expected }
    }

    /// The field's name.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value as it came, at most 128 characters of it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn text<'a>(fields: &'a Headers, field: &'static str) -> Result<Option<&'a str>, Malformed> {
    let Some(value) = fields.get(field) else {
        return Ok(None);
    };
    std::str::from_utf8(value)
        .map(Some)
        .map_err(|_| Malformed::new(field, &value.escape_ascii().to_string(), "UTF-8 text"))
}

fn parse_version(text: &str) -> Result<u32, Malformed> {
    let number = text.strip_suffix(".0").unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|version| *version > 0 && number.bytes().all(|digit| digit.is_ascii_digit()))
        .ok_or_else(|| Malformed::new(field::VERSION, text, "a positive integer such as 2 or 1.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let mut envelope = Envelope::new(
            EventId::from("evt_1"),
            Name::from_static("order.placed"),
            2,
            Name::from_static("order-service"),
        );
        envelope.time = Some(Timestamp::from_micros(1_773_152_580_000_000));
        envelope.correlation = Some(EventId::from("cor_1"));
        envelope.causation = Some(EventId::from("evt_0"));
        envelope.trace = Some(TraceContext::random());
        envelope.hops = 3;
        envelope
    }

    fn no_id() -> EventId {
        EventId::from("fallback")
    }

    #[test]
    fn fields_round_trip() {
        let envelope = envelope();
        assert_eq!(Envelope::parse(&envelope.to_fields(), no_id), Ok(Some(envelope)));
    }

    #[test]
    fn no_type_is_a_foreign_message() {
        assert_eq!(Envelope::parse(&Headers::new(), no_id), Ok(None));
    }

    #[test]
    fn malformed_versions_are_kept_for_the_error() {
        for version in ["abc", "-1", "0", "18446744073709551616", "", "+1", "1.5", "1.0.0"] {
            let mut fields = envelope().to_fields();
            fields.set(field::VERSION, Bytes::copy_from_slice(version.as_bytes()));
            let error = Envelope::parse(&fields, no_id).expect_err(version);
            assert_eq!((error.field(), error.value()), (field::VERSION, version));
        }
        assert_eq!(Envelope::parse_version("1.0"), Ok(1));
    }

    #[test]
    fn a_forged_hop_count_is_clamped_upwards() {
        let mut fields = envelope().to_fields();
        fields.set(field::HOPS, "99999999999999999999999");
        let parsed = Envelope::parse(&fields, no_id).expect("readable").expect("typed");
        assert_eq!(parsed.hops, u16::MAX);
        fields.set(field::HOPS, "-1");
        assert!(Envelope::parse(&fields, no_id).is_err());
    }
}
