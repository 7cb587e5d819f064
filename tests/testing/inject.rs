//! Records of other programs, and encoding as on a broker.

use std::sync::{Arc, Mutex};

use tidings::memory::Memory;
use tidings::testing::{Fate, TestBus, raw};
use tidings::{AnyEvent, Delivery};

use super::{OrderPlaced, PaymentCompleted, fates, order};

#[tokio::test]
async fn a_foreign_record_is_read_as_the_one_type_of_its_topic() {
    let bus = TestBus::new("shop").await;
    bus.on(async |order: Delivery<OrderPlaced>| {
        assert_eq!(
            (&*order.order_id, order.key(), order.header("via")),
            ("7", Some("k"), Some("legacy"))
        );
    });
    let record = raw("order.placed")
        .key("k")
        .header("via", "legacy")
        .body(r#"{"order_id":"7"}"#);
    let receipt = bus.inject(record).await.unwrap();
    assert_eq!(receipt.groups.names().unwrap().len(), 1);
    bus.settled().await;
    assert_eq!(fates(&bus.handled::<OrderPlaced>()), [Fate::Completed]);
    assert!(
        bus.published::<OrderPlaced>().is_empty(),
        "the bus did not publish it"
    );
}

#[tokio::test]
async fn one_field_of_a_sound_record_can_be_forged() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    for (field, value, reason) in [
        ("eventversion", "3", "future_version"),
        ("eventversion", "1", "no_upcaster"),
        ("eventversion", "-1", "malformed_envelope"),
        ("type", "order.cancelled", "unknown_type"),
        ("eventhops", "99999", "hop_limit"),
        ("time", "yesterday", "malformed_envelope"),
    ] {
        bus.inject(bus.encode(order(1)).field(field, value))
            .await
            .unwrap();
        bus.settled().await;
        let dead = bus.take_dead_letters("shop").await;
        assert_eq!(dead.len(), 1, "{field} {value}");
        assert_eq!(
            dead[0].fields().get_str(field),
            Some(value),
            "kept as it came"
        );
        if reason != "no_upcaster" {
            assert_eq!(
                dead[0].reason(),
                reason,
                "{field} {value}: {}",
                dead[0].error()
            );
        }
    }
    bus.inject(bus.encode(order(2)).without_field("traceparent"))
        .await
        .unwrap();
    bus.settled().await;
    assert!(bus.dead_letters("shop").await.is_empty());
}

#[tokio::test]
async fn a_record_sent_twice_is_one_event() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    let record = bus.encode(order(1));
    bus.inject(record.clone()).await.unwrap();
    bus.inject(record).await.unwrap();
    bus.settled().await;
    assert_eq!(
        fates(&bus.handled::<OrderPlaced>()),
        [Fate::Completed, Fate::Duplicate]
    );
}

/// Notes what a handler saw of a field that is lost on the way through bytes.
async fn notes_seen(bus: &TestBus) -> Vec<String> {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&notes);
    bus.with(seen)
        .on(async |seen: Arc<Mutex<Vec<String>>>, order: OrderPlaced| {
            seen.lock().unwrap().push(order.note);
        });
    bus.emit(OrderPlaced {
        note: "only in memory".into(),
        ..order(1)
    })
    .await
    .unwrap();
    bus.settled().await;
    std::mem::take(&mut *notes.lock().unwrap())
}

#[tokio::test]
async fn events_are_encoded_unless_that_is_turned_off() {
    let encoded = TestBus::new("shop").await;
    assert_eq!(notes_seen(&encoded).await, [""]);
    let moved = TestBus::builder("shop")
        .without_encoding()
        .build()
        .await
        .unwrap();
    assert_eq!(notes_seen(&moved).await, ["only in memory"]);
    // What was published is what the emitter gave.
    assert_eq!(encoded.published::<OrderPlaced>()[0].note, "only in memory");
}

#[tokio::test]
async fn two_services_talk_through_one_store() {
    let store = Memory::new().encoded(true);
    let (here, there) = (store.clone(), store);
    let shop = TestBus::builder("shop")
        .memory(|_| here)
        .build()
        .await
        .unwrap();
    let billing = TestBus::builder("billing")
        .memory(|_| there)
        .build()
        .await
        .unwrap();
    billing.on(async |_: PaymentCompleted| ());
    billing
        .group("audit")
        .on_pattern("#", async |event: AnyEvent| {
            assert_eq!(event.source(), "shop")
        });
    shop.emit(PaymentCompleted {
        order_id: "1".into(),
    })
    .await
    .unwrap();
    billing.settled().await;
    assert_eq!(
        fates(&billing.all_handled()),
        [Fate::Completed, Fate::Completed]
    );
    assert!(shop.all_handled().is_empty());
    assert!(billing.published::<PaymentCompleted>().is_empty());
}
