//! Rows 34, 35, 38: sizes, headers, keys (contract P6).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{EventId, HeaderError, Headers, Name, Reason};
use tidings::{Bus, Delivery, Event, PublishError};
use tokio::sync::mpsc;

use crate::kit::{
    Order, assert_conserved, counting, dead, message, order, put, settled, shop, shop_with, within,
};

const MIB: usize = 1024 * 1024;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "file.stored", version = 1)]
struct File {
    content: String,
}

fn file(size: usize) -> File {
    File {
        content: "x".repeat(size - r#"{"content":""}"#.len()),
    }
}

#[tokio::test]
async fn row_34_a_payload_over_the_limit_is_refused_before_it_is_queued() {
    let (memory, bus) = shop_with(Memory::new().encoded(true), |bus| bus).await;
    bus.on(async |_: File| {});
    bus.emit(file(MIB)).await.unwrap();
    let error = bus.emit(file(MIB + 1)).await.unwrap_err();
    assert!(error.is_not_published());
    let Reason::TooLarge { size, limit } = *error.reason() else {
        panic!("{error:?}")
    };
    assert_eq!((size, limit), (MIB + 1, MIB));
    assert!(
        error
            .reason()
            .to_string()
            .contains("1048577 bytes is over the limit of 1048576")
    );
    let error = bus.try_emit(file(2 * MIB)).unwrap_err();
    assert!(matches!(error.reason(), Reason::TooLarge { size, .. } if *size == 2 * MIB));
    assert_eq!(
        error.event().content.len() + r#"{"content":""}"#.len(),
        2 * MIB,
        "handed back"
    );
    assert_eq!(memory.config().max_payload, MIB);
    bus.emit(file(100)).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 2);
}

/// A value that is moved is never measured; dead-lettering it must not ask for more than memory
/// keeps, or its lane would wait for ever.
#[tokio::test(start_paused = true)]
async fn row_34_a_large_local_value_is_moved_and_can_be_dead_lettered() {
    let (_, bus) = shop().await;
    bus.on(async |file: File| {
        if file.content.len() > MIB {
            Err("too large for me")
        } else {
            Ok(())
        }
    });
    bus.emit(file(3 * MIB)).key("k").await.unwrap();
    bus.emit(file(100)).key("k").await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason(), letters[0].error()),
        ("exhausted", "too large for me")
    );
    assert_conserved(&bus, 2);
}

async fn refused_header(bus: &Bus, name: &str) -> PublishError<Order> {
    let error = bus.emit(order(1)).header(name, "x").await.unwrap_err();
    assert!(error.is_not_published(), "{name:?}");
    assert_eq!(error.event(), &order(1), "handed back");
    error
}

#[tokio::test]
async fn row_35_header_names_that_no_transport_carries_are_refused() {
    let (_, bus) = shop().await;
    let calls = counting(&bus);
    let long = "h".repeat(256);
    for name in ["", "a\rb", "a\nb", "a\0b", "a\u{1b}b", &long] {
        match refused_header(&bus, name).await.reason() {
            Reason::Header(HeaderError::Name(named)) => assert_eq!(named, name),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    match refused_header(&bus, "tidings-attempts").await.reason() {
        Reason::Invalid(why) => {
            assert!(
                why.contains("\"tidings-attempts\"") && why.contains("reserved"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    bus.emit(order(2)).header(&long[..255], "x").await.unwrap();
    settled(&bus).await;
    assert_eq!(calls.count(), 1, "the bus lives on");
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_35_headers_over_16_kib_in_total_are_refused() {
    let (_, bus) = shop().await;
    let calls = counting(&bus);
    let (half, limit) = (vec![b'x'; 8 * 1024], 16 * 1024);
    let error = bus
        .emit(order(1))
        .header("a", half.clone())
        .header("b", half.clone())
        .await
        .unwrap_err();
    assert!(error.is_not_published());
    match error.reason() {
        Reason::Header(HeaderError::TooLarge { size, limit: named }) => {
            assert_eq!((*size, *named), (limit + 2, limit));
        }
        other => panic!("{other:?}"),
    }
    let fits = vec![b'x'; 8 * 1024 - 2];
    bus.emit(order(1))
        .header("a", half)
        .header("b", fits)
        .await
        .unwrap();
    settled(&bus).await;
    assert_eq!(calls.count(), 1);
    assert_conserved(&bus, 1);
}

/// Values are bytes: CR, LF and NUL in them reach the handler unchanged.
#[tokio::test]
async fn row_35_header_values_are_bytes_and_arrive_unchanged() {
    let (_, bus) = shop_with(Memory::new().encoded(true), |bus| bus).await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send((
                order.headers().get("h").cloned(),
                order.header("h").is_some(),
            ))
            .await
            .unwrap();
        });
    for value in [&b"a\r\nb\0"[..], b"\xff\xfe", b""] {
        bus.emit(order(1)).header("h", value).await.unwrap();
        let (bytes, is_text) = within(seen.recv()).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(value));
        assert_eq!(is_text, std::str::from_utf8(value).is_ok());
    }
    settled(&bus).await;
    assert_conserved(&bus, 3);
}

#[tokio::test]
async fn row_38_an_empty_key_is_a_key_and_none_is_none() {
    let (_, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, file: Delivery<File>| {
            send.send(file.key().map(str::to_owned)).await.unwrap();
        });
    for (key, expected) in [
        (Some(""), Some("")),
        (None, None),
        (Some("a\0b"), Some("a\0b")),
    ] {
        let emit = bus.emit(file(100));
        match key {
            Some(key) => emit.key(key).await.unwrap(),
            None => emit.await.unwrap(),
        };
        assert_eq!(within(seen.recv()).await.unwrap().as_deref(), expected);
    }
    settled(&bus).await;
    assert_conserved(&bus, 3);
}

#[tokio::test]
async fn row_38_a_key_over_the_limit_is_refused_naming_both_sizes() {
    let (_, bus) = shop().await;
    bus.on(async |_: File| {});
    let error = bus.emit(file(100)).key("k".repeat(MIB)).await.unwrap_err();
    assert!(error.is_not_published());
    let Reason::Invalid(why) = error.reason() else {
        panic!("{error:?}")
    };
    assert!(
        why.contains("key of 1048576 bytes") && why.contains("limit of 1024 bytes"),
        "{why}"
    );
    let too_long = Order {
        order: "o".repeat(1_025),
        cents: 1,
    };
    let error = bus.emit(too_long).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Invalid(why) if why.contains("key of 1025 bytes")));
    bus.emit(file(100)).key("k".repeat(1_024)).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

/// Longer than anything we emit, as long as the transport takes: it must still fit a dead letter.
#[tokio::test(start_paused = true)]
async fn row_38_a_foreign_key_and_id_at_the_transport_s_limit_can_be_dead_lettered() {
    let (memory, bus) = shop().await;
    bus.on(async |_: Order| Err::<(), _>("declined"));
    let long = "k".repeat(memory.config().max_headers);
    let mut keyed = message();
    keyed.key = Some(Bytes::from(long.clone()));
    put(&memory, keyed).await;
    let mut named = message();
    let mut fields = Headers::new();
    for (name, value) in [
        ("id", &*"i".repeat(12_000)),
        ("type", Order::NAME),
        ("eventversion", "2"),
    ] {
        fields.push(
            Name::from_static(name),
            Bytes::copy_from_slice(value.as_bytes()),
        );
    }
    named.envelope = tidings::transport::Carried::Raw(fields);
    put(&memory, named).await;
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(letters.len(), 2);
    // Two keys: which fails first is left to the jitter.
    let of = |length: usize| {
        let is = |id: EventId| id.to_string().len() == length;
        letters
            .iter()
            .find(|letter| letter.id().is_some_and(is))
            .unwrap()
    };
    let keyed = of("evt-1".len());
    assert_eq!(
        keyed.key().map(Bytes::len),
        None,
        "too long to be kept beside the rest"
    );
    assert!(
        keyed.error().contains("16384 bytes"),
        "and said so: {}",
        keyed.error()
    );
    assert_eq!(of(12_000).reason(), "exhausted");
    assert_conserved(&bus, 2);
}
