//! House rule 12: records that no bus wrote.

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{Carried, DynTransport, Headers, Message, Name, Origin, Payload};
use tidings::{AnyEvent, Delivery, Event, Mapping};

use crate::kit::{Log, Step, World, step};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "OrderPlaced", version = 2, topic = "orders", key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderPlaced {
    order_id: String,
    amount: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "OrderCancelled", version = 1, topic = "orders")]
struct OrderCancelled {}

#[tokio::test(start_paused = true)]
async fn a_plain_record_reaches_the_one_type_that_has_the_topic() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<(Step, u32)>, event: Delivery<Step>| {
                log.push((event.event().clone(), event.version()));
            });
        world
            .inject(
                "step.taken",
                Headers::new(),
                br#"{"key":"k","number":5,"extra":true}"#,
            )
            .await;
        bus.settled().await.unwrap();
        assert_eq!(log.all(), [(step("k", 5), 1)], "{url}");
        assert!(bus.dead_letters("svc").list().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_types_on_the_topic_it_is_dead_lettered() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        bus.on(async |_: OrderPlaced| {});
        bus.on(async |_: OrderCancelled| {});
        world
            .inject("orders", Headers::new(), br#"{"orderId":"o","amount":1.0}"#)
            .await;
        bus.settled().await.unwrap();
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!((dead.len(), dead[0].reason()), (1, "unknown_type"), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_declared_mapping_reads_it() {
    for (url, world) in World::all() {
        let mapping = Mapping::new("orders", "/event", "/data").id("/data/orderId");
        let bus = world.builder().mapping(mapping).build().await.unwrap();
        let log = Log::default();
        bus.with(log.clone()).on(
            async |log: Log<(String, String)>, event: Delivery<OrderPlaced>| {
                log.push((event.order_id.clone(), event.id().to_string()));
            },
        );
        let good = br#"{"event":"OrderPlaced","data":{"orderId":"ord_1","amount":59.99}}"#;
        world.inject("orders", Headers::new(), good).await;
        world
            .inject("orders", Headers::new(), br#"{"data":{"orderId":"ord_2"}}"#)
            .await;
        world
            .inject(
                "orders",
                Headers::new(),
                br#"{"event":"OrderShipped","data":{"orderId":"o"}}"#,
            )
            .await;
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [("ord_1".to_owned(), "ord_1".to_owned())],
            "{url}"
        );
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!(
            dead.len(),
            1,
            "{url}: only the record that the mapping cannot read"
        );
        assert!(dead[0].error().contains("/event"), "{}", dead[0].error());
        assert_eq!(
            bus.named("x").stats().unwrap().skipped,
            1,
            "{url}: a type nobody here handles"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_type_on_a_shared_topic_is_skipped_and_counted() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<String>, event: OrderPlaced| {
                log.push(event.order_id);
            });
        bus.emit(OrderCancelled {}).await.unwrap();
        bus.emit(OrderPlaced {
            order_id: "o".into(),
            amount: 1.0,
        })
        .await
        .unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.all(), ["o"], "{url}");
        assert!(
            bus.dead_letters("svc").list().await.unwrap().is_empty(),
            "{url}"
        );
        assert_eq!(bus.named("x").stats().unwrap().skipped, 1, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_skipped_and_counted() {
    let memory = Memory::new();
    let world = World {
        memory: memory.clone(),
    };
    let bus = world.bus().await;
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log<u32>, event: Step| {
            log.push(event.number);
        });
    let message = Message {
        topic: Name::from_static("step.taken"),
        key: Some("k".into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Tombstone,
        delay: None,
    };
    DynTransport::publish(&memory, message, Origin::default())
        .await
        .unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.len(), 0);
    assert_eq!(bus.named("x").stats().unwrap().skipped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pattern_sees_what_its_typed_neighbour_cannot_decode() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.group("typed").on(async |_: Step| {});
        let audit = log.clone();
        bus.group("audit")
            .on_pattern("step.*", move |event: AnyEvent| {
                let log = audit.clone();
                async move {
                    log.push((
                        event.name().to_owned(),
                        event.version(),
                        event.json().is_ok(),
                    ));
                }
            });
        bus.emit(step("k", 1)).await.unwrap();
        let mut fields = Headers::new();
        fields.push("type", "step.taken");
        fields.push("eventversion", "9");
        fields.push("id", "evt_9");
        world.inject("step.taken", fields, b"{\"new\":1}").await;
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [
                ("step.taken".to_owned(), 1, true),
                ("step.taken".to_owned(), 9, true)
            ],
            "{url}"
        );
        let dead = bus.dead_letters("typed").list().await.unwrap();
        assert_eq!(
            (dead.len(), dead[0].reason()),
            (1, "future_version"),
            "{url}"
        );
    }
}
