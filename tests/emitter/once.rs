//! Listeners for one event, and for a number of them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::{Log, Ping, bus};

#[tokio::test]
async fn once_is_removed_before_it_runs() {
    let bus = bus().await;
    let log = Log::default();
    let (inner, emits) = (log.clone(), bus.clone());
    bus.once(move |ping: &Ping| {
        inner.add(format!(
            "once {}, still there: {}",
            ping.0,
            emits.has_handlers::<Ping>()
        ));
    });
    assert!(bus.has_handlers::<Ping>());
    bus.emit(Ping(1)).await.unwrap();
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), ["once 1, still there: false"]);
}

#[tokio::test]
async fn once_runs_once_though_it_emits_its_own_type() {
    let bus = bus().await;
    let log = Log::default();
    let (once, emits) = (log.clone(), bus.clone());
    bus.once(move |ping: &Ping| {
        once.add(format!("once {}", ping.0));
        emits.try_emit(Ping(2)).unwrap();
    });
    let always = log.clone();
    bus.listen(move |ping: &Ping| always.add(format!("always {}", ping.0)));
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), ["once 1", "always 1", "always 2"]);
}

#[tokio::test]
async fn once_runs_once_though_two_threads_emit_at_once() {
    let bus = bus().await;
    for round in 0..300 {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        bus.once(move |_: &Ping| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    bus.try_emit(Ping(round)).unwrap();
                });
            }
        });
        assert_eq!(calls.load(Ordering::Relaxed), 1, "round {round}");
        assert!(!bus.has_handlers::<Ping>());
    }
}

#[tokio::test]
async fn once_is_spent_though_it_panics() {
    let bus = bus().await;
    let log = Log::default();
    let calls = log.clone();
    bus.once(move |_: &Ping| {
        calls.add("called");
        panic!("once and never again");
    });
    bus.emit(Ping(1)).await.unwrap();
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), ["called"]);
}

#[tokio::test]
async fn many_runs_exactly_that_often() {
    let bus = bus().await;
    for times in [0, 1, 3] {
        let log = Log::default();
        let calls = log.clone();
        bus.many(times, move |ping: &Ping| calls.add(ping.0.to_string()));
        for number in 0..5 {
            bus.emit(Ping(number)).await.unwrap();
        }
        let expected: Vec<String> = (0..times).map(|number| number.to_string()).collect();
        assert_eq!(log.take(), expected);
        assert!(!bus.has_handlers::<Ping>());
    }
}

#[tokio::test]
async fn many_runs_exactly_that_often_over_four_threads() {
    let bus = bus().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    bus.many(137, move |_: &Ping| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for number in 0..50 {
                    bus.try_emit(Ping(number)).unwrap();
                }
            });
        }
    });
    assert_eq!(calls.load(Ordering::Relaxed), 137);
}

#[tokio::test]
async fn once_may_be_taken_back() {
    let bus = bus().await;
    let log = Log::default();
    let calls = log.clone();
    let subscription = bus.once(move |_: &Ping| calls.add("called"));
    subscription.off().await.unwrap();
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), [""; 0]);
}
