//! How often an emit allocates, counted exactly (goals G1, G2 and G6; house rule 16).
//!
//! One test function, because the counter is the whole process's. The harness allocates a few times
//! when it has started the test: so what must be nothing is counted in rounds, and the least counts.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tidings::{Bus, Event};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "counted", version = 1)]
struct Counted {
    number: u64,
}

static HEARD: AtomicU64 = AtomicU64::new(0);

fn hear(event: &Counted) {
    HEARD.fetch_add(black_box(event.number), Ordering::Relaxed);
}

#[test]
fn allocations_are_few_and_known() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for listeners in [1, 3, 10] {
            a_sync_emit_allocates_nothing(listeners).await;
        }
        a_sync_emit_allocates_nothing_whoever_has_the_threads_place().await;
        for handlers in [1, 2] {
            a_queued_event_allocates_an_arc_and_a_box_per_handler(handlers).await;
        }
    });
}

const EMITS: u64 = 1_000;
const ROUNDS: u64 = 5;

/// A static has no parameters, so a type with some has no place of its own for its snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "wrapped", version = 1)]
#[serde(bound = "")]
struct Wrapped<T: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static>(T);

async fn a_sync_emit_allocates_nothing_whoever_has_the_threads_place() {
    let buses = [
        Bus::builder("first").build().await.unwrap(),
        Bus::builder("second").build().await.unwrap(),
    ];
    for bus in &buses {
        bus.listen(hear);
        bus.listen(|event: &Wrapped<u64>| {
            HEARD.fetch_add(black_box(event.0), Ordering::Relaxed);
        });
    }
    let round = async || {
        for bus in &buses {
            bus.try_emit(Counted { number: 1 }).unwrap();
            bus.emit(Counted { number: 1 }).await.unwrap();
            bus.try_emit(Wrapped(1_u64)).unwrap();
            bus.emit(Wrapped(1_u64)).await.unwrap();
        }
    };
    round().await;
    let before = HEARD.load(Ordering::Relaxed);
    let mut rounds = Vec::with_capacity(ROUNDS as usize);
    for _ in 0..ROUNDS {
        let region = Region::new(COUNTED);
        for _ in 0..EMITS {
            round().await;
        }
        rounds.push(region.change());
    }
    assert_nothing(&rounds);
    assert_eq!(HEARD.load(Ordering::Relaxed) - before, 8 * EMITS * ROUNDS);
}

/// An emit that allocates does so in every round.
fn assert_nothing(rounds: &[Stats]) {
    let least = |count: fn(&Stats) -> usize| rounds.iter().map(count).min();
    let counted = (
        least(|round| round.allocations),
        least(|round| round.reallocations),
    );
    assert_eq!(counted, (Some(0), Some(0)), "{rounds:?}");
}

async fn a_sync_emit_allocates_nothing(listeners: u64) {
    let bus = Bus::builder("svc").build().await.unwrap();
    for _ in 0..listeners {
        bus.listen(hear);
    }
    let publisher = bus.publisher::<Counted>();
    let before = HEARD.load(Ordering::Relaxed);
    // The first emit of a thread fills its cache.
    publisher.try_emit(Counted { number: 1 }).unwrap();
    bus.try_emit(Counted { number: 1 }).unwrap();
    bus.emit(Counted { number: 1 }).await.unwrap();

    let mut rounds = Vec::with_capacity(ROUNDS as usize);
    for _ in 0..ROUNDS {
        let region = Region::new(COUNTED);
        for _ in 0..EMITS {
            publisher.try_emit(Counted { number: 1 }).unwrap();
            bus.try_emit(Counted { number: 1 }).unwrap();
            bus.emit(Counted { number: 1 }).await.unwrap();
        }
        rounds.push(region.change());
    }
    assert_nothing(&rounds);
    let heard = HEARD.load(Ordering::Relaxed) - before;
    let emits = 3 * (EMITS * ROUNDS + 1);
    assert_eq!(heard, emits * listeners, "every emit was heard");
}

/// At most one `Arc` and one box per event and handler; what is paid per batch is less than a
/// tenth of an allocation per event.
async fn a_queued_event_allocates_an_arc_and_a_box_per_handler(handlers: u64) {
    let bus = Bus::builder("svc").build().await.unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    for number in 0..handlers {
        let state = Arc::clone(&handled);
        bus.named(format!("handler-{number}")).with(state).on(
            async |handled: Arc<AtomicU64>, event: Arc<Counted>| {
                handled.fetch_add(event.number, Ordering::Relaxed);
            },
        );
    }
    let round = async || {
        for _ in 0..EMITS {
            bus.emit(Counted { number: 1 }).await.unwrap();
        }
        bus.settled().await.unwrap();
    };
    // Queues and tables grow to their size first.
    for _ in 0..10 {
        round().await;
    }
    let before = handled.load(Ordering::Relaxed);
    let region = Region::new(COUNTED);
    for _ in 0..10 {
        round().await;
    }
    let counted = region.change();
    assert_eq!(
        handled.load(Ordering::Relaxed) - before,
        10 * EMITS * handlers
    );
    let events = 10 * EMITS;
    let allowed = events * handlers * 2 + events / 10;
    assert!(
        counted.allocations as u64 <= allowed,
        "{handlers} handlers: {} allocations for {events} events, {allowed} allowed",
        counted.allocations
    );
}
