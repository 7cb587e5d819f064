//! Row 58: records with none of our headers (house rule 12).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{Headers, Message, Name};
use tidings::{AnyEvent, Delivery, Event, Mapping};
use tokio::sync::mpsc;

use crate::kit::{
    Calls, Order, SERVICE, assert_conserved, dead, put, raw, settled, shop, shop_with, stats,
    within,
};

fn bare(topic: &'static str, body: &'static str) -> Message {
    let mut message = raw(Headers::new(), body);
    message.topic = Name::from_static(topic);
    message
}

#[tokio::test]
async fn row_58_where_one_type_owns_the_topic_a_bare_record_is_its_latest_version() {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            let known = (order.id().to_string(), order.version(), order.cents);
            send.send(known).await.unwrap();
        });
    for _ in 0..2 {
        put(&memory, bare("order.placed", r#"{"order":"o","cents":7}"#)).await;
    }
    let (first, version, cents) = within(seen.recv()).await.unwrap();
    assert_eq!((version, cents), (2, 7));
    let (second, ..) = within(seen.recv()).await.unwrap();
    assert!(
        !first.is_empty() && first != second,
        "memory has no positions: ids are fresh"
    );
    settled(&bus).await;
    assert_eq!((stats(&bus).foreign, stats(&bus).without_id), (2, 2));
    assert_conserved(&bus, 2);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "box.opened", version = 1, topic = "boxes")]
struct Opened {
    id: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "box.closed", version = 1, topic = "boxes")]
struct Closed {
    id: u64,
}

#[tokio::test]
async fn row_58_where_two_types_share_the_topic_it_is_dead_lettered() {
    let (memory, bus) = shop().await;
    bus.on(async |_: Opened| panic!("never called"));
    bus.on(async |_: Closed| panic!("never called"));
    put(&memory, bare("boxes", r#"{"id":1}"#)).await;
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), letters[0].reason()), (1, "unknown_type"));
    assert_eq!(letters[0].bytes(), r#"{"id":1}"#);
    assert!(
        letters[0].error().contains("\"boxes\""),
        "{}",
        letters[0].error()
    );
    assert!(
        letters[0].error().contains("declare a mapping"),
        "the fix: {}",
        letters[0].error()
    );
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_58_a_mapping_says_where_type_data_and_id_are() {
    let mapping = Mapping::new("boxes", "/event", "/data").id("/data/ref");
    let (memory, bus) = shop_with(Memory::new(), |bus| bus.mapping(mapping)).await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, event: Delivery<Closed>| {
            send.send((event.event().id, event.id().to_string()))
                .await
                .unwrap();
        });
    put(
        &memory,
        bare(
            "boxes",
            r#"{"event":"box.closed","data":{"id":4,"ref":"r-4"}}"#,
        ),
    )
    .await;
    assert_eq!(within(seen.recv()).await.unwrap(), (4, String::from("r-4")));
    let unmapped = [
        (r#"{"event":"box.closed","data":{"id":4}}"#, "/data/ref"),
        (r#"{"event":7,"data":{"id":4,"ref":"r"}}"#, "/event"),
        (r#"{"event":"box.closed","ref":"r"}"#, "/data"),
    ];
    for (body, pointer) in unmapped {
        put(&memory, bare("boxes", body)).await;
        settled(&bus).await;
        let letters = dead(&bus).await;
        let letter = letters.last().unwrap();
        assert_eq!(
            (letter.reason(), letter.bytes()),
            ("malformed_envelope", Bytes::from(body))
        );
        assert!(
            letter.error().contains(&format!("{pointer:?}")),
            "{}",
            letter.error()
        );
    }
    // A type of the shared topic that nobody here handles is no mistake.
    put(
        &memory,
        bare(
            "boxes",
            r#"{"event":"box.burnt","data":{"id":4,"ref":"r-5"}}"#,
        ),
    )
    .await;
    settled(&bus).await;
    assert_eq!(stats(&bus).skipped, 1);
    assert_conserved(&bus, 5);
}

#[tokio::test]
async fn row_58_who_takes_any_event_takes_a_bare_record_of_no_known_type() {
    let (memory, bus) = shop().await;
    let calls = Calls::default();
    let (counted, audit) = (calls.clone(), bus.group("audit"));
    audit.on_pattern("#", move |event: AnyEvent| {
        let calls = counted.clone();
        async move {
            assert_eq!(
                (event.name(), event.data().unwrap()),
                ("", &Bytes::from_static(b"\xff"))
            );
            calls.one();
        }
    });
    put(&memory, {
        let mut message = bare("anything", "");
        message.payload = tidings::transport::Payload::Bytes(Bytes::from_static(b"\xff"));
        message
    })
    .await;
    settled(&bus).await;
    assert_eq!(calls.count(), 1);
    assert_eq!(audit.stats().unwrap().completed, 1);
    assert_eq!(audit.wire_name(), format!("{SERVICE}.audit").as_str());
}
