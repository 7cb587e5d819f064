//! Events that come encoded, as from a broker, through the default pipeline: envelope, decoding,
//! dedup, handler, settling. What fetches them is left out, so that nothing depends on a broker.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{
    Carried, Envelope, EventId, Headers, Message, Name, Origin, Payload, Transport, TryPublish,
};
use tidings::{Bus, Event};
use tokio::sync::Notify;

use super::{name, runtime};
use crate::driver::Case;

/// Some 200 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.received", version = 1, key = order_id)]
struct OrderReceived {
    order_id: String,
    user_id: String,
    total_cents: u64,
    note: String,
}

/// How many are still to be handled.
static LEFT: AtomicU64 = AtomicU64::new(0);
static DONE: Notify = Notify::const_new();

/// What fits into the queue of a group.
const MOST: usize = 1 << 20;

/// Events of all runs together: each has an id of its own, as dedup needs it.
static MADE: AtomicU64 = AtomicU64::new(0);

pub(super) fn cases() -> Result<Vec<Case>> {
    let ready = |bus: &Bus| {
        bus.group("ready")
            .queue(MOST)
            .on(async |order: Arc<OrderReceived>| {
                handled(order.total_cents);
            });
    };
    let waits = |bus: &Bus| {
        bus.group("waits")
            .queue(MOST)
            .on(async |order: Arc<OrderReceived>| {
                tokio::task::yield_now().await;
                handled(order.total_cents);
            });
    };
    Ok(vec![
        raw()?,
        encoded(name::ENCODED, ready)?.against(name::ENCODED_RAW),
        encoded(name::ENCODED_WAITS, waits)?.against(name::ENCODED),
    ])
}

fn handled(value: u64) {
    black_box(value);
    let left = LEFT.load(Ordering::Relaxed);
    LEFT.store(left - 1, Ordering::Relaxed);
    if left == 1 {
        DONE.notify_one();
    }
}

fn body(number: u64) -> Result<Bytes, serde_json::Error> {
    let order = OrderReceived {
        order_id: format!("ord_{}", number % 1_000),
        user_id: format!("usr_{number}"),
        total_cents: 5_999,
        note: "x".repeat(110),
    };
    serde_json::to_vec(&order).map(Bytes::from)
}

/// The limit: the same bodies, read and dropped.
fn raw() -> Result<Case> {
    let bodies = (0..1_000).map(body).collect::<Result<Vec<_>, _>>()?;
    Ok(Case::new(name::ENCODED_RAW, move |count| {
        let begun = Instant::now();
        for body in bodies.iter().cycle().take(count as usize) {
            let order: serde_json::Result<OrderReceived> = serde_json::from_slice(body);
            black_box(order.is_ok_and(|order| order.total_cents > 0));
        }
        begun.elapsed()
    }))
}

/// The queue is filled first, and timed is what becomes of it.
fn encoded(name: &str, register: impl Fn(&Bus)) -> Result<Case> {
    let runtime = runtime()?;
    let memory = Memory::new();
    let bus = runtime.block_on(Bus::builder("bench").transport(memory.clone()).build())?;
    register(&bus);
    runtime.block_on(bus.start())?;
    let case = move |count: u64| {
        let count = count.min(MOST as u64);
        // It ends with the bus that the case keeps.
        let _ = &bus;
        for _ in 0..count {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let message = message(number).ok();
            let tried = message.map(|it| memory.try_publish(it, &Origin::default()));
            let queued = matches!(tried, Some(TryPublish::Done(_)));
            assert!(queued, "the queue has room for a whole round");
        }
        LEFT.store(count, Ordering::Relaxed);
        let begun = Instant::now();
        runtime.block_on(DONE.notified());
        begun.elapsed()
    };
    Ok(Case::new(name, case))
}

/// An event as it comes from a broker.
fn message(number: u64) -> Result<Message, serde_json::Error> {
    let envelope = Envelope::new(
        EventId::from(format!("0192d3a4-5b6c-7d8e-9f00-{number:012x}")),
        Name::from_static("order.received"),
        1,
        Name::from("bench"),
    );
    Ok(Message {
        topic: Name::from_static("order.received"),
        key: Some(Bytes::from(format!("ord_{}", number % 1_000))),
        envelope: Carried::Raw(envelope.to_fields()),
        headers: Headers::new(),
        payload: Payload::Bytes(body(number)?),
        delay: None,
    })
}
