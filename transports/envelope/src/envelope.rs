use std::fmt::{self, Write as _};

use bytes::{Bytes, BytesMut};

use crate::{EventId, Headers, Malformed, Name, Timestamp, TraceContext};

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

const JSON: &str = "application/json";

/// What an event says about itself, beside its data: a CloudEvents envelope, typed.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Made with the event, never changed (P4).
    pub id: EventId,
    /// The declared name, the `type` of CloudEvents.
    pub name: Name,
    /// The declared version, from 1.
    pub version: u32,
    /// The service that made the event.
    pub source: Name,
    /// How many handlers in a row led here; bounds loops.
    pub hops: u16,
    attributes: Option<Box<Attributes>>,
}

/// What an envelope says beyond what every event says. Apart, because envelopes are moved about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// When it happened. `None` stands for the time that a UUIDv7 id carries.
    pub time: Option<Timestamp>,
    /// The media type of the encoded data; JSON unless it is set.
    pub content_type: Name,
    /// Shared by everything that one cause set off. `None` stands for the event's own id.
    pub correlation: Option<EventId>,
    /// The event whose handler emitted this one.
    pub causation: Option<EventId>,
    /// The trace this event belongs to. `None` stands for the one derived from the id.
    pub trace: Option<TraceContext>,
}

impl Attributes {
    const NONE: Self = Self {
        time: None,
        content_type: Name::from_static(JSON),
        correlation: None,
        causation: None,
        trace: None,
    };
}

impl Envelope {
    /// An envelope with only what every event has.
    pub fn new(id: EventId, name: Name, version: u32, source: Name) -> Self {
        Self {
            id,
            name,
            version,
            source,
            hops: 0,
            attributes: None,
        }
    }

    /// What else it says.
    pub fn attributes(&self) -> &Attributes {
        self.attributes
            .as_deref()
            .unwrap_or(const { &Attributes::NONE })
    }

    /// What else it says, to be changed.
    pub fn attributes_mut(&mut self) -> &mut Attributes {
        self.attributes
            .get_or_insert_with(|| Box::new(Attributes::NONE))
    }

    /// When it happened, if that is known.
    pub fn time(&self) -> Option<Timestamp> {
        self.attributes().time.or_else(|| self.id.time())
    }

    /// The correlation id: the event's own id where none was set.
    pub fn correlation(&self) -> &EventId {
        self.attributes().correlation.as_ref().unwrap_or(&self.id)
    }

    /// The trace: the one derived from the id where none was set; `None` only for an opaque id
    /// without one.
    pub fn trace(&self) -> Option<TraceContext> {
        let trace = self.attributes().trace.clone();
        trace.or_else(|| self.id.derived_trace())
    }

    /// The raw fields of CloudEvents binary mode, without a transport's prefix.
    pub fn to_fields(&self) -> Headers {
        let mut texts = Texts::default();
        let mut fields = Vec::with_capacity(12);
        let mut put = |field, value: Bytes| fields.push((Name::from_static(field), value));
        let id = texts.id(&self.id);
        put(field::SPEC_VERSION, Bytes::from_static(b"1.0"));
        put(field::ID, id.clone());
        put(field::TYPE, texts.name(&self.name));
        put(field::VERSION, texts.version(self.version));
        put(field::SOURCE, texts.name(&self.source));
        let attributes = self.attributes();
        put(field::CONTENT_TYPE, texts.name(&attributes.content_type));
        let correlation = attributes.correlation.as_ref();
        put(
            field::CORRELATION,
            correlation.map_or(id, |it| texts.id(it)),
        );
        if let Some(time) = self.time() {
            put(field::TIME, texts.written(&time));
        }
        if let Some(causation) = &attributes.causation {
            put(field::CAUSATION, texts.id(causation));
        }
        if let Some(trace) = self.trace() {
            put(
                field::TRACEPARENT,
                trace.with_parent(|parent| texts.of(parent)),
            );
            if let Some(state) = trace.tracestate() {
                put(field::TRACESTATE, texts.of(state));
            }
        }
        if self.hops > 0 {
            put(field::HOPS, texts.written(&self.hops));
        }
        fields.into_iter().collect()
    }

    /// Reads the raw fields of binary mode; `Ok(None)` when they name no event type, as a foreign
    /// producer's do. What follows from the id is left to it, as where the event was made. A missing id is replaced by `fallback_id`, a missing version reads as 1, a
    /// malformed trace context is ignored (W3C), a hop count too large is clamped.
    /// # Errors
    /// The first field whose value cannot be read, value kept.
    pub fn parse(
        fields: &Headers,
        fallback_id: impl FnOnce() -> EventId,
    ) -> Result<Option<Self>, Malformed> {
        let raw = Raw::of(fields);
        let Some(name) = raw.name else {
            return Ok(None);
        };
        let name = Name::received(text(field::TYPE, name)?);
        let given = raw.id.filter(|id| !id.is_empty());
        let id = given.map_or_else(|| Ok(fallback_id()), |id| event_id(field::ID, id))?;
        let source = Name::received(text(field::SOURCE, raw.source.unwrap_or_default())?);
        let version = Self::parse_version(text(field::VERSION, raw.version.unwrap_or(b"1"))?)?;
        let mut envelope = Self::new(id, name, version, source);
        if let Some(time) = raw.time {
            let time = match Timestamp::common(time) {
                Some(time) => time,
                None => text(field::TIME, time)?.parse()?,
            };
            // What the id says already takes no place.
            if envelope.id.time() != Some(time) {
                envelope.attributes_mut().time = Some(time);
            }
        }
        if let Some(other) = raw.content_type.filter(|it| *it != JSON.as_bytes()) {
            let other = Name::from(text(field::CONTENT_TYPE, other)?);
            envelope.attributes_mut().content_type = other;
        }
        // On the wire an event that nothing caused correlates with itself.
        if let Some(other) = raw.correlation.filter(|_| raw.correlation != given) {
            let other = event_id(field::CORRELATION, other)?;
            if other != envelope.id {
                envelope.attributes_mut().correlation = Some(other);
            }
        }
        if let Some(causation) = raw.causation {
            envelope.attributes_mut().causation = Some(event_id(field::CAUSATION, causation)?);
        }
        if let Some(parent) = raw.traceparent {
            let state = raw.tracestate.and_then(|state| str::from_utf8(state).ok());
            if let Some(trace) = TraceContext::read(parent, state)
                && envelope.id.derived_trace().as_ref() != Some(&trace)
            {
                envelope.attributes_mut().trace = Some(trace);
            }
        }
        if let Some(hops) = raw.hops {
            let hops = text(field::HOPS, hops)?;
            if hops.is_empty() || !hops.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(Malformed::new(field::HOPS, hops, "a count"));
            }
            envelope.hops = hops.parse().unwrap_or(u16::MAX);
        }
        Ok(Some(envelope))
    }

    /// Reads a version as text: `2`, or `1.0` as other producers write it.
    /// # Errors
    /// Anything else, zero and numbers beyond 32 bits included.
    pub fn parse_version(text: &str) -> Result<u32, Malformed> {
        let number = text.strip_suffix(".0").unwrap_or(text);
        let digits = number.bytes().all(|digit| digit.is_ascii_digit());
        let version = number.parse().ok().filter(|&version| digits && version > 0);
        version.ok_or_else(|| {
            Malformed::new(field::VERSION, text, "a positive integer such as 2 or 1.0")
        })
    }
}

/// The texts of an envelope, in one buffer.
struct Texts(BytesMut);

impl Default for Texts {
    fn default() -> Self {
        Self(BytesMut::with_capacity(256))
    }
}

impl Texts {
    fn of(&mut self, text: &str) -> Bytes {
        self.0.extend_from_slice(text.as_bytes());
        self.0.split().freeze()
    }

    fn written(&mut self, value: &dyn fmt::Display) -> Bytes {
        // A buffer that grows takes everything.
        let _ = write!(self.0, "{value}");
        self.0.split().freeze()
    }

    fn id(&mut self, id: &EventId) -> Bytes {
        id.with_str(|text| self.of(text))
    }

    /// A constant's text is not copied.
    fn name(&mut self, name: &Name) -> Bytes {
        match name.as_static() {
            Some(text) => Bytes::from_static(text.as_bytes()),
            None => self.of(name),
        }
    }

    fn version(&mut self, version: u32) -> Bytes {
        match version {
            1 => Bytes::from_static(b"1"),
            2 => Bytes::from_static(b"2"),
            other => self.written(&other),
        }
    }
}

/// Equal in meaning: what is left to the id is what the id stands for.
impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        let (this, that) = (self.attributes(), other.attributes());
        (&self.id, &self.name, self.version) == (&other.id, &other.name, other.version)
            && (&self.source, self.hops) == (&other.source, other.hops)
            && (&this.content_type, &this.causation) == (&that.content_type, &that.causation)
            && (self.time(), self.trace()) == (other.time(), other.trace())
            && self.correlation() == other.correlation()
    }
}

impl Eq for Envelope {}

/// The values an envelope is read from, each the first of its name.
#[derive(Default)]
struct Raw<'a> {
    id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    correlation: Option<&'a [u8]>,
    causation: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    tracestate: Option<&'a [u8]>,
    hops: Option<&'a [u8]>,
}

impl<'a> Raw<'a> {
    fn of(fields: &'a Headers) -> Self {
        let mut raw = Self::default();
        for (name, value) in fields.iter() {
            let slot = match name.as_str() {
                field::ID => &mut raw.id,
                field::TYPE => &mut raw.name,
                field::VERSION => &mut raw.version,
                field::SOURCE => &mut raw.source,
                field::TIME => &mut raw.time,
                field::CONTENT_TYPE => &mut raw.content_type,
                field::CORRELATION => &mut raw.correlation,
                field::CAUSATION => &mut raw.causation,
                field::TRACEPARENT => &mut raw.traceparent,
                field::TRACESTATE => &mut raw.tracestate,
                field::HOPS => &mut raw.hops,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        raw
    }
}

fn text<'a>(field: &'static str, value: &'a [u8]) -> Result<&'a str, Malformed> {
    let error = |_| Malformed::new(field, &value.escape_ascii().to_string(), "UTF-8 text");
    str::from_utf8(value).map_err(error)
}

/// Most ids are UUIDs, whose digits need no check for UTF-8.
fn event_id(field: &'static str, value: &[u8]) -> Result<EventId, Malformed> {
    match EventId::canonical(value) {
        Some(id) => Ok(id),
        None => text(field, value).map(EventId::from),
    }
}

/// How a message carries its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "boxing would cost the hot path an allocation"
)]
pub enum Carried {
    /// Typed, as the emitter made it: in this process.
    Local(Envelope),
    /// Raw fields without a transport's prefix, as they came: not yet parsed, maybe malformed,
    /// maybe empty.
    Raw(Headers),
}

impl Carried {
    /// The typed envelope, where there is one.
    pub fn local(&self) -> Option<&Envelope> {
        match self {
            Self::Local(envelope) => Some(envelope),
            Self::Raw(_) => None,
        }
    }

    /// The raw fields of binary mode.
    pub fn to_fields(&self) -> Headers {
        match self {
            Self::Local(envelope) => envelope.to_fields(),
            Self::Raw(fields) => fields.clone(),
        }
    }
}
