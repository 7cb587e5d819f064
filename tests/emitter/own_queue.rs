//! A handler that emits into its own full queue.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::memory::Memory;
use tidings::transport::Reason;
use tidings::{Bus, Event, PublishError};

use crate::kit::{Log, Ping, Pong};

/// Two places in the queue and three to spill into; the group takes one event at a time.
async fn small() -> Bus {
    let memory = Memory::new().queue(2).spill(3);
    Bus::builder("svc").transport(memory).build().await.unwrap()
}

fn is_own<E: Event>(error: &PublishError<E>) -> bool {
    matches!(error.reason(), Reason::Full { own_queue: true, group } if group.contains("loop"))
}

/// Emits until it may not, by either way; gives back how many were Ok.
async fn emit_all(bus: &Bus, awaited: bool) -> u32 {
    for number in 0..1_000 {
        let emitted = match awaited {
            true => bus.emit(Pong(number)).await,
            false => bus.try_emit(Pong(number)),
        };
        if let Err(error) = emitted {
            assert!(is_own(&error), "{error:?}");
            assert!(error.is_not_published() && error.is_full());
            assert_eq!(error.event(), &Pong(number), "handed back");
            return number;
        }
    }
    panic!("the queue has no bound")
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_emits_into_its_own_full_queue_neither_deadlocks_nor_drops() {
    for awaited in [true, false] {
        let bus = small().await;
        let log = Log::default();
        let group = bus.group("loop").window(1);
        let state = (bus.clone(), log.clone(), awaited);
        group
            .with(state)
            .on(async |(bus, log, awaited): (Bus, Log, bool), _: Ping| {
                log.add(format!("{} emitted", emit_all(&bus, awaited).await));
            });
        group
            .with(log.clone())
            .on(async |log: Log, pong: Pong| log.add(pong.0.to_string()));
        let before = tokio::time::Instant::now();
        bus.emit(Ping(1)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.take(), ["5 emitted", "0", "1", "2", "3", "4"]);
        assert_eq!(
            tokio::time::Instant::now(),
            before,
            "nobody waited for a deadline"
        );
    }
}

/// From outside of its handlers the same full queue makes an emit wait, and all arrive.
#[tokio::test]
async fn an_emit_from_outside_into_the_same_queue_waits() {
    let bus = small().await;
    let log = Log::default();
    let group = bus.group("loop").window(1);
    group
        .with(log.clone())
        .on(async |log: Log, pong: Pong| log.add(pong.0.to_string()));
    for number in 0..50 {
        bus.emit(Pong(number)).await.unwrap();
    }
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        (0..50).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_handlers_that_emit_into_their_own_full_queue_neither_deadlock_nor_drop() {
    let bus = small().await;
    let (emitted, handled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let group = bus.group("loop").concurrency(8).window(8);
    let state = (bus.clone(), Arc::clone(&emitted));
    group
        .with(state)
        .on(async |(bus, emitted): (Bus, Arc<AtomicUsize>), _: Ping| {
            for number in 0..20 {
                match bus.emit(Pong(number)).await {
                    Ok(_) => emitted.fetch_add(1, Ordering::SeqCst),
                    Err(error) => {
                        assert!(is_own(&error), "{error:?}");
                        break;
                    }
                };
                tokio::task::yield_now().await;
            }
        });
    let counted = Arc::clone(&handled);
    group
        .with(counted)
        .on(async |handled: Arc<AtomicUsize>, _: Pong| {
            handled.fetch_add(1, Ordering::SeqCst);
        });
    for number in 0..40 {
        bus.emit(Ping(number)).await.unwrap();
    }
    bus.settled().await.unwrap();
    let emitted = emitted.load(Ordering::SeqCst);
    assert!(emitted > 0);
    assert_eq!(
        handled.load(Ordering::SeqCst),
        emitted,
        "every Ok is handled"
    );
    assert_eq!(group.stats().unwrap().completed, 40 + emitted as u64);
}
