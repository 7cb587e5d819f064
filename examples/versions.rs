//! Events outlive the code that wrote them: version 1 on the wire, version 3 in the handler.
//!
//! Each version is a type of its own that says which one came before it and how it becomes the
//! next. The handler knows the newest only. What no conversion can save is not lost either: it is
//! in the dead letters, byte for byte as it came.
#![allow(
    clippy::print_stdout,
    reason = "an example speaks on its standard output"
)]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{Carried, Headers, Message, Name, Origin, Payload, Transport};
use tidings::{Bus, Delivery, Event, PlainEnvelope};

/// The first release: money as a float, currency understood.
#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderPlacedV1 {
    order_id: String,
    total_amount: f64,
}

/// The second: the shop opens abroad.
#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, key = order_id, upcast_from = OrderPlacedV1)]
#[serde(rename_all = "camelCase")]
struct OrderPlacedV2 {
    order_id: String,
    total_amount: f64,
    currency: String,
}

impl From<OrderPlacedV1> for OrderPlacedV2 {
    fn from(old: OrderPlacedV1) -> Self {
        let currency = String::from("EUR");
        Self {
            order_id: old.order_id,
            total_amount: old.total_amount,
            currency,
        }
    }
}

/// The third, and the only one that handlers see: cents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 3, key = order_id, upcast_from = OrderPlacedV2)]
#[serde(rename_all = "camelCase")]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
    currency: String,
}

/// Not every old event makes sense today, so this conversion may fail.
impl TryFrom<OrderPlacedV2> for OrderPlaced {
    type Error = String;

    fn try_from(old: OrderPlacedV2) -> Result<Self, String> {
        let cents = (old.total_amount * 100.0).round();
        if !(0.0..1e15).contains(&cents) {
            return Err(format!("{} is no amount of money", old.total_amount));
        }
        Ok(Self {
            order_id: old.order_id,
            total_cents: cents as u64,
            currency: old.currency,
        })
    }
}

/// As the first release wrote it, and as services in other languages still do.
const V1: &str = r#"{"eventType":"order.placed","eventId":"evt_1","timestamp":"2026-03-10T14:23:00Z","version":"1.0","source":"order-service","data":{"orderId":"ord_9921","totalAmount":59.99}}"#;
const V2: &str = r#"{"eventType":"order.placed","eventId":"evt_2","timestamp":"2026-04-01T08:00:00Z","version":"2.0","source":"order-service","data":{"orderId":"ord_9922","totalAmount":12.5,"currency":"CHF"}}"#;
const NO_MONEY: &str = r#"{"eventType":"order.placed","eventId":"evt_3","timestamp":"2026-03-11T09:00:00Z","version":"1.0","source":"order-service","data":{"orderId":"ord_9923","totalAmount":-1.0}}"#;
const FROM_TOMORROW: &str = r#"{"eventType":"order.placed","eventId":"evt_4","timestamp":"2026-03-12T09:00:00Z","version":"4.0","source":"order-service","data":{"orderId":"ord_9924"}}"#;

/// What the handler saw: the version on the wire, and the event.
type Seen = Arc<Mutex<Vec<(u32, OrderPlaced)>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let memory = Memory::new();
    let bus = Bus::builder("billing")
        .transport(memory.clone())
        .codec(PlainEnvelope)
        .build()
        .await?;
    let seen = Seen::default();
    bus.with(Arc::clone(&seen))
        .on(async |seen: Seen, order: Delivery<OrderPlaced>| {
            println!("v{} became {:?}", order.version(), order.event());
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((order.version(), order.event().clone()));
        });
    bus.start().await?;

    for wire in [V1, V2, NO_MONEY, FROM_TOMORROW] {
        memory.publish(message(wire), Origin::default()).await?;
    }
    bus.settled().await?;

    let expected = [
        (1, order("ord_9921", 5_999, "EUR")),
        (2, order("ord_9922", 1_250, "CHF")),
    ];
    assert_eq!(
        *seen.lock().unwrap_or_else(PoisonError::into_inner),
        expected
    );

    let letters = bus.dead_letters("billing").list().await?;
    for letter in &letters {
        println!("dead letter, {}: {}", letter.reason(), letter.error());
    }
    let kept: Vec<_> = letters
        .iter()
        .map(|letter| (letter.reason(), letter.bytes()))
        .collect();
    assert_eq!(
        kept,
        [
            ("upcast", Bytes::from(NO_MONEY)),
            ("future_version", Bytes::from(FROM_TOMORROW)),
        ]
    );

    bus.shutdown().await?;
    Ok(())
}

fn order(order_id: &str, total_cents: u64, currency: &str) -> OrderPlaced {
    OrderPlaced {
        order_id: order_id.to_owned(),
        total_cents,
        currency: currency.to_owned(),
    }
}

/// What a producer that never heard of this program would put on the topic.
fn message(body: &'static str) -> Message {
    Message {
        topic: Name::from_static("order.placed"),
        // One key for all, so that they are handled in the order of this list.
        key: Some(Bytes::from_static(b"shop")),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes(Bytes::from_static(body.as_bytes())),
        delay: None,
    }
}
