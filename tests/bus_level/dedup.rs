//! contract: X1, X3, X5, X6, R6

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings::{DedupPolicy, Delivery};
use tokio::sync::Semaphore;

use crate::kit::{Log, Step, World, step, until};

#[tokio::test(start_paused = true)]
async fn a_repeat_is_suppressed_and_a_failed_first_try_is_not_swallowed() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<u32>, event: Delivery<Step>| {
                let calls = log.push(event.attempt());
                if calls == 1 {
                    Err("first try fails")
                } else {
                    Ok(())
                }
            });
        bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [1, 2],
            "{url}: the retry ran, the repeat did not"
        );
        let stats = bus.group("x").stats();
        assert!(stats.is_none());
        bus.emit(step("k", 1)).id("evt-2").await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.len(), 3, "{url}: another id is another event");
        assert!(bus.dead_letters("svc").list().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_a_dead_letter_is_tried_again() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let calls = Arc::new(AtomicUsize::new(0));
        bus.with(Arc::clone(&calls))
            .on(async |calls: Arc<AtomicUsize>, _: Step| {
                if calls.fetch_add(1, Ordering::SeqCst) < 3 {
                    Err("down")
                } else {
                    Ok(())
                }
            });
        for _ in 0..2 {
            bus.emit(step("k", 1)).id("evt-1").await.unwrap();
            bus.settled().await.unwrap();
        }
        assert_eq!(
            calls.load(Ordering::SeqCst),
            4,
            "{url}: three failures, then one success"
        );
        assert_eq!(bus.dead_letters("svc").list().await.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_twin_waits_for_the_first() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let gate = Arc::new(Semaphore::new(0));
        let calls = Arc::new(AtomicUsize::new(0));
        bus.group("g")
            .unordered()
            .concurrency(1)
            .with((Arc::clone(&gate), Arc::clone(&calls)))
            .on(
                async |(gate, calls): (Arc<Semaphore>, Arc<AtomicUsize>), _: Step| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                },
            );
        bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        until("the first runs", || calls.load(Ordering::SeqCst) == 1).await;
        gate.add_permits(5);
        bus.settled().await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{url}");
        assert_eq!(bus.group("g").stats().unwrap().duplicates, 1, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn groups_and_handlers_have_marks_of_their_own() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        for group in ["a", "b"] {
            for handler in ["one", "two"] {
                let log = log.clone();
                bus.group(group).named(handler).on(move |_: Step| {
                    let log = log.clone();
                    async move {
                        log.push((group, handler));
                    }
                });
            }
        }
        for _ in 0..3 {
            bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        }
        bus.settled().await.unwrap();
        let mut seen = log.all();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [("a", "one"), ("a", "two"), ("b", "one"), ("b", "two")],
            "{url}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_passes_and_dedup_can_be_off() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (kept, off) = (Log::default(), Log::default());
        let policy = DedupPolicy::default().window(Duration::from_secs(600));
        bus.group("kept")
            .dedup(policy)
            .with(kept.clone())
            .on(async |log: Log<u32>, e: Step| {
                log.push(e.number);
            });
        bus.group("off")
            .dedup(DedupPolicy::off())
            .with(off.clone())
            .on(async |log: Log<u32>, e: Step| {
                log.push(e.number);
            });
        for wait in [0, 599, 700] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            bus.emit(step("k", 1)).id("evt-1").await.unwrap();
            bus.settled().await.unwrap();
        }
        assert_eq!(kept.len(), 2, "{url}: again once the window has passed");
        assert_eq!(off.len(), 3, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_id_with_two_payloads_is_no_duplicate() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<u32>, event: Step| {
                log.push(event.number);
            });
        bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        bus.emit(step("k", 2)).id("evt-1").await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.all(), [1], "{url}");
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].reason(), "id_collision");
        assert!(dead[0].error().contains("evt-1"), "{}", dead[0].error());
    }
}
