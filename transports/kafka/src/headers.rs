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

/// The attributes and all other headers. A header without a value reads as an empty one; one whose
/// name is no UTF-8 cannot be read through the client and is left out, which the log says.
pub(crate) fn from_kafka(
    raw: &BorrowedHeaders,
    mut bytes: impl FnMut(&[u8]) -> Bytes,
) -> (Headers, Headers) {
    let mut fields = Vec::with_capacity(raw.count());
    let mut headers = Vec::new();
    for at in 0..raw.count() {
        // rdkafka panics over a name that is no UTF-8.
        let Ok(Some(header)) = catch_unwind(AssertUnwindSafe(|| raw.try_get(at))) else {
            tracing::warn!(header = at, "a Kafka header's name is no UTF-8: left out");
            continue;
        };
        let value = bytes(header.value.unwrap_or_default());
        let known = KNOWN.iter().find(|(_, key)| *key == header.key);
        match (known, header.key.strip_prefix(PREFIX)) {
            (Some((field, _)), _) => fields.push((Name::from_static(field), value)),
            (None, Some(other)) => fields.push((Name::from(other), value)),
            (None, None) if header.key == CONTENT_TYPE => {
                fields.push((Name::from_static(field::CONTENT_TYPE), value));
            }
            (None, None) => headers.push((Name::from(header.key), value)),
        }
    }
    (fields.into_iter().collect(), headers.into_iter().collect())
}

/// A record, with one buffer for all its bytes.
pub(crate) fn inbound(message: &BorrowedMessage<'_>, topic: &Name) -> Inbound {
    let payload = message.payload();
    let key = message.key();
    let size = payload.map_or(0, <[u8]>::len) + key.map_or(0, <[u8]>::len);
    let mut buffer = BytesMut::with_capacity(size + 512);
    let mut bytes = |part: &[u8]| -> Bytes {
        buffer.extend_from_slice(part);
        buffer.split().freeze()
    };
    let payload = payload.map_or(Payload::Tombstone, |payload| Payload::Bytes(bytes(payload)));
    let key = key.map(&mut bytes);
    let (fields, headers) = match message.headers() {
        Some(raw) => from_kafka(raw, &mut bytes),
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
            published: millis.map(|millis| Timestamp::from_micros(millis.saturating_mul(1_000))),
        },
    }
}
