//! Row 41: a million emits in flight. Queues stay bounded, emitters wait.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, poll};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidings::Event;
use tidings::memory::Memory;
use tidings::transport::Transport;
use tokio::sync::Semaphore;
use tokio::task::unconstrained;

use crate::kit::{Calls, settled, shop_with, within};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "tick", version = 1)]
struct Tick(u64);

/// In a debug build a million takes most of a minute and 3 GB, so that one makes do with less.
const EMITS: u64 = if cfg!(debug_assertions) {
    200_000
} else {
    1_000_000
};
const QUEUE: u64 = 1_024;
const WINDOW: u64 = 256;

#[tokio::test]
async fn row_41_emits_far_beyond_the_bounds_wait_and_all_arrive() {
    // In time of the machine: the default of 30 s is no limit that this test is about.
    let memory = Memory::new().publish_deadline(Duration::from_secs(3_600));
    let (memory, bus) = shop_with(memory, |bus| bus).await;
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Calls::default());
    let group = bus.group("ticks");
    group.with((gate.clone(), calls.clone())).on(
        async |(gate, calls): (Arc<Semaphore>, Calls), _: Tick| {
            drop(gate.acquire().await.unwrap());
            calls.one();
        },
    );
    let region = Region::new(ALLOCATOR);
    let mut emits: FuturesUnordered<_> = (0..EMITS)
        .map(|number| bus.emit(Tick(number)).into_future())
        .collect();
    let mut published = 0;
    // Polls every one of them and takes those that did not have to wait. Unconstrained, because a
    // million futures in one task would each be told to yield, again and again.
    unconstrained(async {
        while let Poll::Ready(Some(sent)) = poll!(emits.next()) {
            sent.unwrap();
            published += 1;
        }
    })
    .await;
    assert!(
        published <= QUEUE + WINDOW,
        "{published} were taken beyond the bounds"
    );
    let lag = memory.lag(&group.wire_name()).await.unwrap();
    assert_eq!(
        lag[0].behind(),
        published,
        "the rest waits outside of the queue"
    );
    let held = used(&region) / EMITS as i64;
    assert!(held < 3 * 1024, "{held} bytes per emit that waits");

    gate.add_permits(WINDOW as usize);
    unconstrained(within(async {
        while let Some(sent) = emits.next().await {
            sent.unwrap();
            published += 1;
        }
    }))
    .await;
    drop(emits);
    settled(&bus).await;
    assert_eq!((published, calls.count()), (EMITS, EMITS));
    let stats = group.stats().unwrap();
    assert_eq!(
        (stats.completed, stats.dead_lettered, stats.unsettled),
        (EMITS, 0, 0)
    );
    let left = used(&region);
    assert!(left < 32 * 1024 * 1024, "{left} bytes left behind");
}

fn used(region: &Region<'_, std::alloc::System>) -> i64 {
    let change = region.change();
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}
