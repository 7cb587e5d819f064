use proptest::prelude::*;

use super::*;
use crate::codec::CloudEvents;
use crate::event::{Body, DecodeErrorKind};

/// As it stands in the world, byte for byte.
const SAMPLE: &[u8] = include_bytes!("../../../tests/data/order_placed_plain.json");

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderPlaced {
    order_id: String,
    user_id: String,
    items: Vec<Item>,
    total_amount: f64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_id: String,
    quantity: u32,
    price: f64,
}

fn fallback() -> EventId {
    EventId::from("fallback")
}

fn read(body: impl Into<Bytes>) -> Result<(Option<Envelope>, Bytes), DecodeError> {
    PlainEnvelope.decode(&Headers::new(), &body.into(), &fallback)
}

/// A body of the necessary members and these.
fn with(members: &str) -> String {
    format!(r#"{{"eventType":"a.b","data":{{}}{members}}}"#)
}

#[track_caller]
fn envelope(members: &str) -> Envelope {
    read(with(members))
        .expect(members)
        .0
        .expect("it has an eventType")
}

#[track_caller]
fn malformed(members: &str) -> String {
    let error = read(with(members)).expect_err(members);
    assert_eq!(error.kind(), DecodeErrorKind::Envelope, "{error}");
    error.to_string()
}

#[test]
fn the_sample_is_read() {
    let (envelope, data) = read(SAMPLE).expect("sound");
    let envelope = envelope.expect("typed");
    assert_eq!(envelope.name, "order.placed");
    assert_eq!(envelope.id, EventId::from("evt_01HZ9K2M3X"));
    assert_eq!(envelope.version, 1);
    assert_eq!(envelope.source, "order-service");
    assert_eq!(
        envelope
            .attributes()
            .time
            .map(|time| time.to_string())
            .as_deref(),
        Some("2026-03-10T14:23:00Z")
    );
    assert_eq!(
        (
            &envelope.attributes().correlation,
            &envelope.attributes().causation,
            &envelope.attributes().trace,
        ),
        (&None, &None, &None)
    );
    assert_eq!(envelope.correlation(), &envelope.id);
    let order: OrderPlaced = Body::new(&data).decode().expect("an order");
    let item = Item {
        product_id: "prod_88".to_owned(),
        quantity: 2,
        price: 29.99,
    };
    assert_eq!(
        order,
        OrderPlaced {
            order_id: "ord_9921".to_owned(),
            user_id: "usr_441".to_owned(),
            items: vec![item],
            total_amount: 59.99,
        }
    );
}

#[test]
fn the_sample_is_written_as_it_was() {
    let (envelope, data) = read(SAMPLE).expect("sound");
    let encoded = PlainEnvelope
        .encode(&envelope.expect("typed"), data)
        .expect("sound");
    assert_eq!(encoded.body, SAMPLE);
    let mut fields = Headers::new();
    fields.push("datacontenttype", "application/json");
    assert_eq!(encoded.fields, fields);
}

#[test]
fn numbers_of_the_data_stay_exact() {
    let data = r#"{"big":123456789012345678901234567890,"money":10.10,"e":1E2}"#;
    let (_, read) = read(format!(r#"{{"data": {data} ,"eventType":"a.b"}}"#)).expect("sound");
    assert_eq!(read, data);
}

#[test]
fn versions_are_read_as_others_write_them() {
    for (version, expected) in [
        ("", 1),
        (r#","version":null"#, 1),
        (r#","version":"1.0""#, 1),
        (r#","version":"2""#, 2),
        (r#","version":3"#, 3),
        (r#","version":4.0"#, 4),
    ] {
        assert_eq!(envelope(version).version, expected, "{version}");
    }
    for version in [
        "\"abc\"",
        "-1",
        "0",
        "18446744073709551616",
        "\"1.5\"",
        "1.5",
        "\"\"",
        "true",
        "{}",
    ] {
        let text = malformed(&format!(r#","version":{version}"#));
        let value = version.trim_matches('"');
        assert!(text.contains(&format!("version is {value:?}")), "{text}");
    }
}

#[test]
fn an_id_that_is_none_is_replaced() {
    for id in [
        "",
        r#","eventId":"""#,
        r#","eventId":null"#,
        r#","eventId":7"#,
        r#","eventId":["a"]"#,
    ] {
        assert_eq!(envelope(id).id, fallback(), "{id}");
    }
    assert_eq!(envelope(r#","eventId":"\u00e9""#).id, EventId::from("é"));
}

#[test]
fn context_is_read_and_a_malformed_trace_is_ignored() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let envelope = envelope(&format!(
        r#","correlationId":"cor","causationId":"cau","traceparent":"{parent}","tracestate":"v=1","hops":99999,"x":1"#
    ));
    assert_eq!(
        envelope.attributes().correlation,
        Some(EventId::from("cor"))
    );
    assert_eq!(envelope.attributes().causation, Some(EventId::from("cau")));
    assert_eq!(
        envelope.attributes().trace,
        TraceContext::parse(parent, Some("v=1"))
    );
    assert_eq!(envelope.hops, u16::MAX);
    for members in [
        r#","traceparent":"00-zz""#,
        r#","traceparent":1"#,
        r#","correlationId":null,"tracestate":[]"#,
    ] {
        assert_eq!(
            self::envelope(members).attributes().trace,
            None,
            "{members}"
        );
    }
}

#[test]
fn malformed_members_are_named_with_their_value() {
    for (members, member, value) in [
        (r#","timestamp":"yesterday""#, "timestamp", "yesterday"),
        (r#","timestamp":1773152580"#, "timestamp", "1773152580"),
        (
            r#","timestamp":"10000-01-01T00:00:00Z""#,
            "timestamp",
            "10000-01-01",
        ),
        (r#","source":[]"#, "source", "[]"),
        (r#","correlationId":5"#, "correlationId", "5"),
        (r#","causationId":{}"#, "causationId", "{}"),
        (r#","hops":-1"#, "hops", "-1"),
    ] {
        let text = malformed(members);
        assert!(text.contains(member) && text.contains(value), "{text}");
    }
    let error = read(r#"{"eventType":"a.b"}"#).expect_err("no data");
    assert_eq!(error.kind(), DecodeErrorKind::Envelope);
    assert!(error.to_string().contains("`data`"), "{error}");
    let error = read(r#"{"eventType":5,"data":{}}"#).expect_err("no name");
    assert!(error.to_string().contains("eventType"), "{error}");
}

#[test]
fn a_body_without_an_event_type_is_foreign() {
    for body in [
        "{}",
        r#"{"data":1,"version":"x"}"#,
        "[]",
        r#"["order.placed","evt_1"]"#,
        "1",
        "null",
        " \"a\"",
    ] {
        assert_eq!(read(body), Ok((None, Bytes::from(body))), "{body}");
    }
}

#[test]
fn a_broken_body_is_an_error_of_its_own_kind() {
    for (body, kind) in [
        ("", DecodeErrorKind::Empty),
        ("{", DecodeErrorKind::Syntax),
        ("nulls", DecodeErrorKind::Syntax),
        (
            r#"{"eventType":"a.b","data":{} }x"#,
            DecodeErrorKind::Syntax,
        ),
        (
            r#"{"eventType":"a.b","data":{"a":01}}"#,
            DecodeErrorKind::Syntax,
        ),
        (
            r#"{"eventType":"a.b","eventType":"a.b","data":{}}"#,
            DecodeErrorKind::DuplicateKey,
        ),
        (
            r#"{"eventType":"a.b","data":{},"x":{"y":1,"y":1}}"#,
            DecodeErrorKind::DuplicateKey,
        ),
    ] {
        assert_eq!(read(body).expect_err(body).kind(), kind, "{body}");
    }
    let error = read(&b"{\"eventType\":\"a\xff\"}"[..]).expect_err("not UTF-8");
    assert_eq!(error.kind(), DecodeErrorKind::Utf8);
}

#[test]
fn data_may_be_as_deep_as_everywhere() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = |depth| format!(r#"{{"eventType":"a.b","data":{}}}"#, deep(depth));
    let (_, data) = read(body(64)).expect("sound");
    assert!(Body::new(&data).decode::<serde_json::Value>().is_ok());
    assert_eq!(
        read(body(65)).expect_err("too deep").kind(),
        DecodeErrorKind::TooDeep
    );
    assert_eq!(
        read("[".repeat(1_000_000)).expect_err("too deep").kind(),
        DecodeErrorKind::TooDeep
    );
}

#[test]
fn data_that_is_null_is_data() {
    let (_, data) = read(r#"{"eventType":"a.b","data":null}"#).expect("sound");
    assert_eq!(data, "null");
    assert_eq!(Body::new(&data).decode::<()>(), Ok(()));
}

#[test]
fn data_that_is_no_json_is_not_written() {
    for data in ["", "{", "{}}", "\"\u{1}\""] {
        let error = PlainEnvelope
            .encode(&envelope(""), Bytes::from(data))
            .expect_err(data);
        assert!(error.to_string().contains("a.b"), "{error}");
    }
}

#[test]
fn a_message_in_binary_mode_is_read_as_such() {
    let envelope = envelope(r#","eventId":"evt_1","source":"shop""#);
    let wire = CloudEvents
        .encode(&envelope, Bytes::from_static(b"{}"))
        .expect("plain");
    let (read, data) = PlainEnvelope
        .decode(&wire.fields, &wire.body, &fallback)
        .expect("sound");
    let mut envelope = envelope;
    envelope.attributes_mut().correlation = None;
    assert_eq!(read, Some(envelope));
    assert_eq!(data, "{}");
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let id = || {
        prop_oneof![
            "\\PC{1,20}".prop_map(EventId::from),
            any::<i32>().prop_map(|seconds| {
                EventId::fresh(Timestamp::from_micros(i64::from(seconds).abs() * 1_000_000))
            })
        ]
    };
    (
        (
            id(),
            "[A-Za-z0-9][A-Za-z0-9._-]{0,20}",
            1..=u32::MAX,
            ".{0,20}",
        ),
        prop::option::of(-10_000_000_000_000_000_i64..200_000_000_000_000_000),
        prop::option::of(id()),
        prop::option::of(id()),
        prop::option::of((1..=u128::MAX, 1..=u64::MAX, any::<u8>())),
        any::<u16>(),
    )
        .prop_map(
            |((id, name, version, source), time, correlation, causation, trace, hops)| {
                let mut envelope = Envelope::new(id, Name::from(name), version, Name::from(source));
                envelope.attributes_mut().time = time.map(Timestamp::from_micros);
                envelope.attributes_mut().correlation =
                    correlation.filter(|other| *other != envelope.id);
                envelope.attributes_mut().causation = causation;
                envelope.attributes_mut().trace =
                    trace.and_then(|(trace, span, flags)| TraceContext::new(trace, span, flags));
                envelope.hops = hops;
                envelope
            },
        )
}

/// An envelope with everything that stands for something else written out.
fn explicit(envelope: &Envelope) -> Envelope {
    let mut explicit = envelope.clone();
    explicit.attributes_mut().time = envelope.time();
    explicit.attributes_mut().trace = envelope.trace();
    explicit
}

proptest! {
    #[test]
    fn every_envelope_comes_back(envelope in any_envelope(), data in "[0-9]{1,5}|\"[a-z]*\"|\\{\"a\":1\\.50\\}") {
        let data = if data.starts_with('0') { "0".to_owned() } else { data };
        for codec in [&CloudEvents as &dyn Codec, &PlainEnvelope] {
            let wire = codec.encode(&envelope, Bytes::from(data.clone())).expect("sound");
            let (read, back) = codec.decode(&wire.fields, &wire.body, &fallback).expect("sound");
            prop_assert_eq!(read, Some(explicit(&envelope)));
            prop_assert_eq!(back, data.as_bytes());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..100),
        fields in prop::collection::vec((prop::sample::select(vec![
            field::ID, field::TYPE, field::VERSION, field::TIME, field::HOPS, field::TRACEPARENT,
        ]), prop::collection::vec(any::<u8>(), 0..60)), 0..6),
    ) {
        let fields: Headers =
            fields.into_iter().map(|(name, value)| (Name::from_static(name), Bytes::from(value))).collect();
        let body = Bytes::from(body);
        for codec in [&CloudEvents as &dyn Codec, &PlainEnvelope] {
            if let Ok((None, data)) = codec.decode(&fields, &body, &fallback) {
                prop_assert_eq!(&data, &body);
            }
        }
    }

    #[test]
    fn any_members_are_read_or_refused(members in prop::collection::vec((prop::sample::select(vec![
        "eventType", "eventId", "timestamp", "version", "source", "data", "correlationId", "causationId",
        "traceparent", "tracestate", "hops", "other",
    ]), prop::sample::select(vec![
        "null", "1", "-1", "1.0", "1e9", "\"\"", "\"1.0\"", "\"2026-03-10T14:23:00Z\"", "[]", "{}", "true",
        "\"\\u0000\"",
    ])), 0..12)) {
        let body: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        match read(format!("{{{}}}", body.join(","))) {
            Ok((envelope, _)) => {
                let named = members.iter().any(|(name, value)| *name == "eventType" && *value != "null");
                prop_assert_eq!(envelope.is_some(), named);
            }
            Err(error) => prop_assert!(matches!(
                error.kind(),
                DecodeErrorKind::Envelope | DecodeErrorKind::DuplicateKey
            )),
        }
    }
}
