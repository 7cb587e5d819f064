//! Envelopes: written as raw fields and read back, whatever others wrote.

use bytes::Bytes;
use proptest::prelude::*;
use tidings_envelope::{
    Carried, Envelope, EventId, Headers, Malformed, Name, Timestamp, TraceContext, field,
};

fn envelope() -> Envelope {
    let mut envelope = Envelope::new(
        EventId::from("evt_1"),
        Name::from_static("order.placed"),
        2,
        Name::from_static("order-service"),
    );
    envelope.attributes_mut().time = Some(Timestamp::from_micros(1_773_152_580_000_000));
    envelope.attributes_mut().correlation = Some(EventId::from("cor_1"));
    envelope.attributes_mut().causation = Some(EventId::from("evt_0"));
    envelope.attributes_mut().trace = Some(TraceContext::random());
    envelope.hops = 3;
    envelope
}

fn parse(fields: &Headers) -> Result<Option<Envelope>, Malformed> {
    Envelope::parse(fields, || EventId::from("fallback"))
}

fn parsed(fields: &Headers) -> Envelope {
    parse(fields).expect("readable").expect("typed")
}

#[test]
fn fields_round_trip() {
    let envelope = envelope();
    assert_eq!(parse(&envelope.to_fields()), Ok(Some(envelope)));
}

#[test]
fn what_stands_for_something_else_is_written_out_and_stays_equal_in_meaning() {
    let id = EventId::fresh(Timestamp::from_micros(1_773_152_640_123_000));
    let (name, source) = (Name::from("a"), Name::from("s"));
    let envelope = Envelope::new(id.clone(), name, 1, source);
    let fields = envelope.to_fields();
    assert_eq!(
        fields.get_str(field::TIME),
        Some("2026-03-10T14:24:00.123Z")
    );
    assert_eq!(
        fields.get_str(field::CORRELATION),
        Some(&*id.to_string()),
        "the event's own id"
    );
    let read = parsed(&fields);
    assert_eq!(read.attributes().correlation, None);
    assert_eq!(read.time(), envelope.time());
    assert_eq!(read.trace(), envelope.trace());
    assert_eq!(read.attributes().trace, None, "left to the id, as there");
}

#[test]
fn no_type_is_a_foreign_message() {
    assert_eq!(parse(&Headers::new()), Ok(None));
    let mut fields = Headers::new();
    fields.push(field::TIME, "yesterday");
    assert_eq!(parse(&fields), Ok(None), "whatever else it says");
}

#[test]
fn of_a_repeated_field_the_first_counts() {
    let mut fields = envelope().to_fields();
    fields.push(field::ID, "evt_2");
    fields.push(field::VERSION, "none");
    let read = parsed(&fields);
    assert_eq!((read.id, read.version), (EventId::from("evt_1"), 2));
}

#[test]
fn what_is_missing_has_a_default() {
    let fields: Headers = [(Name::from_static(field::TYPE), Bytes::from("a"))]
        .into_iter()
        .collect();
    let read = parsed(&fields);
    let attributes = read.attributes().clone();
    assert_eq!((read.id, read.version), (EventId::from("fallback"), 1));
    assert_eq!((read.source, read.hops), (Name::from_static(""), 0));
    assert_eq!(attributes.content_type, "application/json");
    assert_eq!(
        (
            attributes.time,
            attributes.correlation,
            attributes.causation
        ),
        (None, None, None)
    );
}

/// So that an envelope is equal to the one it was written from, and none needs more memory for it.
#[test]
fn what_follows_from_the_id_is_left_to_it() {
    let id = EventId::fresh(Timestamp::from_micros(1_773_152_640_123_000));
    let made = Envelope::new(id, Name::from_static("a"), 1, Name::from_static("shop"));
    let read = parsed(&made.to_fields());
    assert_eq!(read, made);
    assert_eq!((read.time(), read.trace()), (made.time(), made.trace()));
    let mut other = made.to_fields();
    other.set(field::TIME, "2026-03-10T14:24:00.5Z");
    let read = parsed(&other);
    assert_eq!(
        read.time().map(Timestamp::as_micros),
        Some(1_773_152_640_500_000)
    );
}

#[test]
fn names_that_come_again_are_shared_and_never_mixed_up() {
    for round in 0..3 {
        for number in 0..20 {
            let name = format!("type.{number}.{}", "x".repeat(number * 10));
            let mut fields = envelope().to_fields();
            fields.set(field::TYPE, name.clone());
            fields.set(field::SOURCE, format!("service {}", (number + round) % 20));
            let read = parsed(&fields);
            assert_eq!(read.name, name);
            assert_eq!(read.source, format!("service {}", (number + round) % 20));
        }
    }
}

#[test]
fn an_empty_id_is_a_missing_one() {
    let mut fields = envelope().to_fields();
    fields.set(field::ID, "");
    assert_eq!(parsed(&fields).id, "fallback");
}

#[test]
fn another_content_type_is_kept() {
    let mut fields = envelope().to_fields();
    fields.set(field::CONTENT_TYPE, "application/avro");
    assert_eq!(
        parsed(&fields).attributes().content_type,
        "application/avro"
    );
}

#[test]
fn malformed_versions_are_kept_for_the_error() {
    for version in [
        "abc",
        "-1",
        "0",
        "18446744073709551616",
        "",
        "+1",
        "1.5",
        "1.0.0",
    ] {
        let mut fields = envelope().to_fields();
        fields.set(field::VERSION, version);
        let error = parse(&fields).expect_err(version);
        assert_eq!((error.field, &*error.value), (field::VERSION, version));
    }
    assert_eq!(Envelope::parse_version("1.0"), Ok(1));
}

#[test]
fn every_field_that_cannot_be_read_is_named() {
    for (name, value, shown) in [
        (field::TYPE, &b"a\xff"[..], "a\\xff"),
        (field::SOURCE, b"\xff", "\\xff"),
        (field::ID, b"\xff", "\\xff"),
        (field::TIME, b"yesterday", "yesterday"),
        (field::TIME, b"\xff", "\\xff"),
        (field::CONTENT_TYPE, b"\xff", "\\xff"),
        (field::CORRELATION, b"\xff", "\\xff"),
        (field::CAUSATION, b"\xff", "\\xff"),
        (field::HOPS, b"many", "many"),
    ] {
        let mut fields = envelope().to_fields();
        fields.set(name, Bytes::from_static(value));
        let error = parse(&fields).expect_err(name);
        assert_eq!((error.field, &*error.value), (name, shown));
    }
}

#[test]
fn a_malformed_value_is_cut_for_the_error() {
    let error = Envelope::parse_version(&"9".repeat(1_000)).expect_err("too large");
    assert_eq!(error.value.len(), 128);
    assert!(error.to_string().contains("a positive integer"), "{error}");
}

#[test]
fn a_forged_hop_count_is_clamped_upwards() {
    let mut fields = envelope().to_fields();
    fields.set(field::HOPS, "99999999999999999999999");
    assert_eq!(parsed(&fields).hops, u16::MAX);
    fields.set(field::HOPS, "-1");
    assert!(parse(&fields).is_err());
}

#[test]
fn a_malformed_trace_is_ignored() {
    for value in [&b"00-zz-00-01"[..], b"\xff", b""] {
        let mut fields = envelope().to_fields();
        fields.set(field::TRACEPARENT, Bytes::from_static(value));
        assert_eq!(parsed(&fields).attributes().trace, None);
    }
    let mut fields = envelope().to_fields();
    fields.set(field::TRACESTATE, Bytes::from_static(b"\xff"));
    let read = parsed(&fields);
    let trace = read.attributes().trace.as_ref().expect("well formed");
    assert_eq!(trace.tracestate(), None);
}

#[test]
fn raw_fields_are_carried_as_they_came() {
    let fields = envelope().to_fields();
    assert_eq!(
        Carried::Local(envelope()).local().map(|it| it.version),
        Some(2)
    );
    let carried = Carried::Raw(fields.clone());
    assert_eq!(carried.local(), None);
    assert_eq!(carried.to_fields(), fields);
}

proptest! {
    #[test]
    fn bytes_from_strangers_never_panic(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    field::ID, field::TYPE, field::VERSION, field::SOURCE, field::TIME,
                    field::CONTENT_TYPE, field::CORRELATION, field::CAUSATION, field::HOPS,
                    field::TRACEPARENT, field::TRACESTATE, field::SPEC_VERSION, "other",
                ]),
                prop::collection::vec(any::<u8>(), 0..60),
            ),
            0..14,
        )
    ) {
        let fields: Headers = fields
            .into_iter()
            .map(|(name, value)| (Name::from_static(name), Bytes::from(value)))
            .collect();
        let typed = fields.get(field::TYPE).is_some();
        if let Ok(read) = parse(&fields) {
            prop_assert_eq!(read.is_some(), typed);
        }
    }
}
