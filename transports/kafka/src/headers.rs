//! CloudEvents binary mode on Kafka: each attribute is a header `ce_<name>`, except for the media
//! type, which is `content-type`; every other header is the user's.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rdkafka::message::{
    BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders,
};
use tidings_transport::{
    Carried, HeaderError, Headers, Inbound, Name, Origination, Payload, Position, Timestamp, field,
};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";

/// The attributes that this library writes, with their headers: names that need no memory.
const KNOWN: [(&str, &str); 11] = [
    (field::SPEC_VERSION, "ce_specversion"),
    (field::ID, "ce_id"),
    (field::TYPE, "ce_type"),
    (field::VERSION, "ce_eventversion"),
    (field::SOURCE, "ce_source"),
    (field::CORRELATION, "ce_correlationid"),
    (field::TIME, "ce_time"),
    (field::TRACEPARENT, "ce_traceparent"),
    (field::CAUSATION, "ce_causationid"),
    (field::TRACESTATE, "ce_tracestate"),
    (field::HOPS, "ce_eventhops"),
];

/// Checks sizes, and that no header of the user's would be read as an attribute (P6).
pub(crate) fn check(headers: &Headers, limit: usize) -> Result<(), HeaderError> {
    headers.check(limit)?;
    match headers.iter().find(|(name, _)| is_attribute(name)) {
        Some((name, _)) => Err(HeaderError::Name(name.clone())),
        None => Ok(()),
    }
}

fn is_attribute(name: &str) -> bool {
    name == CONTENT_TYPE || name.starts_with(PREFIX)
}

pub(crate) fn to_kafka(fields: &Headers, headers: &Headers) -> OwnedHeaders {
    let mut all = OwnedHeaders::new_with_capacity(16);
    for (name, value) in fields.iter() {
        let known = KNOWN.iter().find(|(field, _)| *field == name.as_str());
        let key = match known {
            Some((_, key)) => *key,
            None if *name == field::CONTENT_TYPE => CONTENT_TYPE,
            None => &format!("{PREFIX}{name}"),
        };
        all = all.insert(Header {
            key,
            value: Some(&value[..]),
        });
    }
    for (name, value) in headers.iter() {
        all = all.insert(Header {
            key: name.as_str(),
            value: Some(&value[..]),
        });
    }
    all
}

/// Reads records, the bytes of many into one buffer: to allocate and free for each costs more than to
/// copy it.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: BytesMut,
}

/// A buffer lives as long as anything that was read into it: so it is no longer than what some
/// records take, and a large record has one of its own.
const BUFFER: usize = 16 * 1024;
const LARGE: usize = BUFFER / 4;

/// What the headers of a record may take before it is known.
const HEADERS: usize = 512;

impl Reader {
    /// A record as it is handed over.
    pub(crate) fn read(&mut self, message: &BorrowedMessage<'_>, topic: &Name) -> Inbound {
        let (payload, key) = (message.payload(), message.key());
        let size = payload.map_or(0, <[u8]>::len) + key.map_or(0, <[u8]>::len);
        if size > LARGE {
            let mut own = Self {
                buffer: BytesMut::with_capacity(size + HEADERS),
            };
            return own.copy(message, topic);
        }
        if self.buffer.capacity() < size + HEADERS {
            self.buffer = BytesMut::with_capacity(BUFFER);
        }
        self.copy(message, topic)
    }

    fn copy(&mut self, message: &BorrowedMessage<'_>, topic: &Name) -> Inbound {
        let payload = match message.payload() {
            Some(payload) => Payload::Bytes(self.bytes(payload)),
            None => Payload::Tombstone,
        };
        let key = message.key().map(|key| self.bytes(key));
        let (fields, headers) = match message.headers() {
            Some(raw) => self.headers(raw),
            None => (Headers::new(), Headers::new()),
        };
        let millis = message.timestamp().to_millis();
        Inbound {
            topic: topic.clone(),
            key,
            envelope: Carried::Raw(fields),
            headers,
            payload,
            origination: Origination {
                attempt: 0,
                position: Some(Position {
                    partition: message.partition(),
                    offset: message.offset(),
                }),
                published: millis
                    .map(|millis| Timestamp::from_micros(millis.saturating_mul(1_000))),
            },
        }
    }

    /// The attributes and all other headers. A header without a value reads as an empty one; one
    /// whose name is no UTF-8 cannot be read through the client and is left out, which the log says.
    fn headers(&mut self, raw: &BorrowedHeaders) -> (Headers, Headers) {
        let mut fields = Vec::with_capacity(raw.count());
        let mut headers = Vec::new();
        for at in 0..raw.count() {
            // rdkafka panics over a name that is no UTF-8.
            let Ok(Some(header)) = catch_unwind(AssertUnwindSafe(|| raw.try_get(at))) else {
                tracing::warn!(header = at, "a Kafka header's name is no UTF-8: left out");
                continue;
            };
            let value = self.value(header.value.unwrap_or_default());
            match header.key.strip_prefix(PREFIX) {
                Some(name) => fields.push((known(name), value)),
                None if header.key == CONTENT_TYPE => {
                    fields.push((Name::from_static(field::CONTENT_TYPE), value));
                }
                None => headers.push((Name::from(header.key), value)),
            }
        }
        (fields.into_iter().collect(), headers.into_iter().collect())
    }

    /// Most records say the same in some of their headers.
    fn value(&mut self, value: &[u8]) -> Bytes {
        match value {
            b"1.0" => Bytes::from_static(b"1.0"),
            b"application/json" => Bytes::from_static(b"application/json"),
            b"1" => Bytes::from_static(b"1"),
            _ => self.bytes(value),
        }
    }

    fn bytes(&mut self, part: &[u8]) -> Bytes {
        self.buffer.extend_from_slice(part);
        self.buffer.split().freeze()
    }
}

/// An attribute's name, which needs no memory if it is one of those that this library writes.
fn known(name: &str) -> Name {
    match KNOWN.iter().find(|(field, _)| *field == name) {
        Some((field, _)) => Name::from_static(field),
        None => Name::from(name),
    }
}
