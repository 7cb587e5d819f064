//! Rows 47 to 53: bodies that are no event. Contract D8: dead-lettered at once, bytes intact.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::Event;
use tidings::transport::{Name, Payload};
use tokio::sync::mpsc;

use crate::kit::{
    Order, assert_conserved, counting, dead, fields, fields_with, lives_on, message, put, raw,
    refused, settled, shop, stats, within,
};

#[tokio::test]
async fn row_47_a_body_that_is_not_json_is_dead_lettered() {
    for body in [
        "hello",
        "{",
        "<xml/>",
        "{\"order\":}",
        "{} {}",
        "NaN",
        "\u{feff}{}",
    ] {
        let letter = refused(raw(fields(), body), "not_json").await;
        assert_eq!((letter.attempts(), letter.topic()), (0, "order.placed"));
        assert_eq!(letter.id().unwrap().to_string(), "evt-1");
        assert!(
            !letter.error().is_empty() && letter.error().contains("JSON"),
            "{}",
            letter.error()
        );
    }
    for body in ["", " \n"] {
        let letter = refused(raw(fields(), body), "empty").await;
        assert!(
            letter.error().contains("tombstone"),
            "the fix: {}",
            letter.error()
        );
    }
    let letter = refused(raw(fields(), "null"), "wrong_data").await;
    assert!(letter.error().contains("null"), "{}", letter.error());
}

#[tokio::test]
async fn row_47_a_tombstone_is_skipped_and_counted() {
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    let mut tombstone = message();
    tombstone.payload = Payload::Tombstone;
    tombstone.key = Some(Bytes::from_static(b"ord-1"));
    put(&memory, tombstone).await;
    settled(&bus).await;
    assert_eq!((stats(&bus).skipped, calls.count()), (1, 0));
    assert!(dead(&bus).await.is_empty());
    lives_on(&memory, &bus, &calls).await;
    assert_conserved(&bus, 2);
}

#[tokio::test]
async fn row_48_a_body_that_is_not_utf8_is_dead_lettered_with_its_bytes() {
    for body in [
        &b"{\"order\":\"\xff\",\"cents\":1}"[..],
        b"\xff\xfe{\x00}\x00",
        b"\xed\xa0\x80",
    ] {
        let letter = refused(raw(fields(), body), "not_utf8").await;
        assert!(letter.error().contains("at byte"), "{}", letter.error());
    }
}

#[tokio::test]
async fn row_48_a_key_that_is_not_utf8_is_dead_lettered_with_its_bytes() {
    let mut bad = message();
    bad.key = Some(Bytes::from_static(b"k\xff\x00"));
    let letter = refused(bad, "not_utf8").await;
    assert_eq!(letter.key().map(|key| &key[..]), Some(&b"k\xff\x00"[..]));
    assert!(
        letter.error().contains("the key is not UTF-8"),
        "{}",
        letter.error()
    );
}

#[tokio::test]
async fn row_48_an_envelope_field_that_is_not_utf8_is_dead_lettered_with_its_bytes() {
    for name in [
        "id",
        "source",
        "type",
        "time",
        "correlationid",
        "datacontenttype",
    ] {
        let bad = raw(
            fields_with(name, &b"a\xffb"[..]),
            "{\"order\":\"ord-1\",\"cents\":1}",
        );
        let letter = refused(bad, "malformed_envelope").await;
        assert_eq!(
            letter.fields().get(name).map(|value| &value[..]),
            Some(&b"a\xffb"[..])
        );
        assert!(
            letter.error().contains(name),
            "names the field: {}",
            letter.error()
        );
        assert!(!letter.error().contains('\u{fffd}'), "{}", letter.error());
    }
}

/// A header that is none of ours may hold any bytes; they reach the handler as they came.
#[tokio::test]
async fn row_48_other_headers_may_be_binary_and_arrive_unchanged() {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send).on(
        async |send: mpsc::Sender<_>, order: tidings::Delivery<Order>| {
            send.send(order.headers().get("blob").cloned())
                .await
                .unwrap();
        },
    );
    let mut binary = message();
    binary.headers.push("blob", &b"\x00\xff\xfe"[..]);
    put(&memory, binary).await;
    assert_eq!(
        within(seen.recv()).await.unwrap().as_deref(),
        Some(&b"\x00\xff\xfe"[..])
    );
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_49_a_million_brackets_are_too_deep_and_overflow_no_stack() {
    for body in [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(200_000),
        "[".repeat(65),
    ] {
        let letter = refused(raw(fields(), body), "too_deep").await;
        assert!(
            letter.error().contains("more than 64"),
            "the limit: {}",
            letter.error()
        );
    }
    let deep = format!(
        r#"{{"order":"o","cents":1,"x":{}{}}}"#,
        "[".repeat(63),
        "]".repeat(63)
    );
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    put(&memory, raw(fields(), deep)).await;
    settled(&bus).await;
    assert_eq!(calls.count(), 1, "64 levels are allowed");
}

#[tokio::test]
async fn row_50_huge_numbers_are_refused_in_linear_time() {
    let started = Instant::now();
    let million = "9".repeat(1_000_000);
    for number in [
        "1e400",
        "-1e400",
        "1e999999999999",
        &million,
        &format!("0.{million}"),
    ] {
        let body = format!(r#"{{"order":"o","cents":{number}}}"#);
        let letter = refused(raw(fields(), body), "number").await;
        assert!(letter.error().contains("at byte 21"), "{}", letter.error());
        assert!(
            letter.error().contains("send it as a string"),
            "the fix: {}",
            letter.error()
        );
    }
    // A quadratic reader needs minutes for a million digits.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    let letter = refused(
        raw(fields(), r#"{"order":"o","cents":18446744073709551616}"#),
        "wrong_data",
    );
    assert!(letter.await.error().contains("`cents`"));
}

#[tokio::test]
async fn row_51_duplicate_keys_and_lone_surrogates_are_refused() {
    let twice = r#"{"order":"a","cents":1,"order":"b"}"#;
    let letter = refused(raw(fields(), twice), "duplicate_key").await;
    assert!(
        letter.error().contains("\"order\" stands twice"),
        "{}",
        letter.error()
    );
    let inside = r#"{"order":"a","cents":1,"other":{"x":1,"\u0078":2}}"#;
    let letter = refused(raw(fields(), inside), "duplicate_key").await;
    assert!(
        letter.error().contains("\"x\""),
        "escaped the same key: {}",
        letter.error()
    );
    for half in [r"\ud800", r"\udc00", r"\ud800\u0041", r"\ud800x"] {
        let body = format!(r#"{{"order":"{half}","cents":1}}"#);
        let letter = refused(raw(fields(), body), "not_json").await;
        assert!(letter.error().contains("surrogate"), "{}", letter.error());
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "note.taken", version = 1)]
struct Note {
    text: String,
}

#[tokio::test]
async fn row_52_a_nul_in_a_string_works_both_ways() {
    let bus = tidings::Bus::builder("shop")
        .force_encoding()
        .build()
        .await
        .unwrap();
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, note: Note| send.send(note).await.unwrap());
    let note = Note {
        text: "a\0b\u{1f}".into(),
    };
    bus.emit(note.clone()).await.unwrap();
    assert_eq!(within(seen.recv()).await, Some(note));

    let (memory, foreign) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    foreign
        .with(send)
        .on(async |send: mpsc::Sender<_>, note: Note| send.send(note).await.unwrap());
    let mut escaped = raw(tidings::transport::Headers::new(), r#"{"text":"a\u0000b"}"#);
    escaped.topic = Name::from_static(Note::NAME);
    put(&memory, escaped).await;
    assert_eq!(within(seen.recv()).await.unwrap().text, "a\0b");
    settled(&foreign).await;
    settled(&bus).await;
    assert_conserved(&foreign, 1);
    assert_conserved(&bus, 1);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "cart.filled", version = 1)]
struct Cart {
    items: Vec<Item>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Item {
    price: u64,
}

#[tokio::test]
async fn row_53_a_wrong_type_and_a_missing_field_are_named_by_path() {
    let (memory, bus) = shop().await;
    bus.on(async |_: Cart| panic!("never called"));
    for (body, path, says) in [
        (
            r#"{"items":[{"price":1},{"price":"free"}]}"#,
            "`items[1].price`",
            "string",
        ),
        (r#"{"items":[{}]}"#, "`items[0]`", "missing field `price`"),
        (r#"{"item":[]}"#, "event", "missing field `items`"),
        (r#"{"items":[{"price":-1}]}"#, "`items[0].price`", "integer"),
        (r"[]", "event", "missing"),
    ] {
        let mut bad = raw(tidings::transport::Headers::new(), body);
        bad.topic = Name::from_static(Cart::NAME);
        put(&memory, bad).await;
        settled(&bus).await;
        let letters = dead(&bus).await;
        let letter = letters.last().unwrap();
        assert_eq!(
            (letter.reason(), letter.bytes()),
            ("wrong_data", Bytes::from(body))
        );
        let error = letter.error();
        assert!(error.contains(path), "{body}: {error}");
        assert!(error.contains(says) || body == "[]", "{body}: {error}");
        assert!(!error.contains("free"), "values are never quoted: {error}");
    }
    assert_conserved(&bus, 5);
}

#[tokio::test]
async fn row_53_an_unknown_field_is_ignored_unless_the_type_is_strict() {
    #[derive(Debug, Clone, Serialize, Deserialize, Event)]
    #[event(name = "order.strict", version = 1)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        order: String,
    }
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    bus.on(async |_: Strict| panic!("never called"));
    put(
        &memory,
        raw(fields(), r#"{"order":"o","cents":1,"new":{"a":[1]}}"#),
    )
    .await;
    let mut strict = raw(
        tidings::transport::Headers::new(),
        r#"{"order":"o","new":1}"#,
    );
    strict.topic = Name::from_static(Strict::NAME);
    put(&memory, strict).await;
    settled(&bus).await;
    assert_eq!(calls.count(), 1);
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), letters[0].reason()), (1, "wrong_data"));
    assert!(
        letters[0].error().contains("`new`"),
        "{}",
        letters[0].error()
    );
    assert_conserved(&bus, 2);
}
