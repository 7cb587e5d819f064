//! Codecs and bodies, as a user of the crate meets them.
#![cfg(feature = "json")]

use bytes::Bytes;
use serde::Deserialize;
use tidings::{
    Body, CloudEvents, CloudEventsStructured, Codec, DecodeError, DecodeErrorKind, PlainEnvelope,
};
use tidings_transport::{EncodeError, Encoded, Envelope, EventId, Headers, Name};

const SAMPLE: &[u8] = include_bytes!("data/order_placed_plain.json");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderPlaced {
    order_id: String,
    total_amount: f64,
}

/// An envelope that this library has never heard of: `<type>;<version>;<id>\n<data>`.
#[derive(Debug)]
struct Lines;

impl Codec for Lines {
    fn encode(&self, envelope: &Envelope, data: Bytes) -> Result<Encoded, EncodeError> {
        if envelope.name.contains(';') {
            return Err(EncodeError::new("a name may not contain `;`"));
        }
        let head = format!("{};{};{}\n", envelope.name, envelope.version, envelope.id);
        let body = [head.as_bytes(), &data[..]].concat().into();
        Ok(Encoded {
            fields: Headers::new(),
            body,
        })
    }

    fn decode(
        &self,
        _: &Headers,
        body: &Bytes,
        fallback_id: &dyn Fn() -> EventId,
    ) -> Result<(Option<Envelope>, Bytes), DecodeError> {
        let Some(end) = body.iter().position(|&byte| byte == b'\n') else {
            return Ok((None, body.clone()));
        };
        let head = std::str::from_utf8(&body[..end])
            .map_err(|_| DecodeError::new(DecodeErrorKind::Utf8, "the head is not UTF-8"))?;
        let mut parts = head.split(';');
        let (Some(name), Some(version)) = (parts.next(), parts.next()) else {
            return Err(DecodeError::envelope("the head has no version"));
        };
        let id = parts.next().map_or_else(fallback_id, EventId::from);
        let version = Envelope::parse_version(version)?;
        let envelope = Envelope::new(id, Name::from(name), version, Name::from_static(""));
        Ok((Some(envelope), body.slice(end + 1..)))
    }
}

fn no_id() -> EventId {
    EventId::from("fallback")
}

#[test]
fn every_codec_carries_an_event_to_its_handler() {
    let (envelope, data) = PlainEnvelope
        .decode(&Headers::new(), &Bytes::from_static(SAMPLE), &no_id)
        .expect("the sample is sound");
    let mut envelope = envelope.expect("the sample has an envelope");
    for codec in [
        &CloudEvents as &dyn Codec,
        &CloudEventsStructured,
        &PlainEnvelope,
        &Lines,
    ] {
        let wire = codec.encode(&envelope, data.clone()).expect("encodes");
        let (read, data) = codec
            .decode(&wire.fields, &wire.body, &no_id)
            .expect("decodes");
        let read = read.expect("has an envelope");
        assert_eq!(
            (&read.id, &read.name, read.version),
            (&envelope.id, &envelope.name, 1),
            "{codec:?}"
        );
        let order: OrderPlaced = Body::new(&data).decode().expect("an order");
        assert_eq!(
            (order.order_id.as_str(), order.total_amount),
            ("ord_9921", 59.99)
        );
    }
    envelope.name = Name::from_static("a;b");
    let error = Lines
        .encode(&envelope, data)
        .expect_err("a name it cannot carry");
    assert_eq!(error.to_string(), "a name may not contain `;`");
}

#[test]
fn a_codec_of_ones_own_has_the_errors_of_the_others() {
    for (body, reason) in [
        (&b"a.b;x;1\n{}"[..], "malformed_envelope"),
        (b"a.b\n{}", "malformed_envelope"),
        (b"a\xff;1;1\n{}", "not_utf8"),
    ] {
        let error = Lines
            .decode(&Headers::new(), &Bytes::from_static(body), &no_id)
            .expect_err(reason);
        assert_eq!(error.reason(), reason);
    }
}

#[test]
fn reasons_are_stable_tokens() {
    for (body, reason) in [
        ("", "empty"),
        ("{", "not_json"),
        ("{\"orderId\":1,\"totalAmount\":1}", "wrong_data"),
        ("{\"a\":1,\"a\":1}", "duplicate_key"),
        ("1e999", "number"),
        (&"[".repeat(65), "too_deep"),
    ] {
        let error = Body::new(body.as_bytes())
            .decode::<OrderPlaced>()
            .expect_err(reason);
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(error.kind().as_str(), reason);
    }
    let secret = Body::new(b"\"hunter2\"")
        .decode::<OrderPlaced>()
        .expect_err("no order");
    assert!(
        !format!("{secret} {secret:?}").contains("hunter2"),
        "{secret:?}"
    );
    assert_eq!(format!("{:?}", Body::new(b"hunter2")), "Body(7 bytes)");
}
