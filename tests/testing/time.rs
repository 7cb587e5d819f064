//! Paused time drives every backoff, window and deadline.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::testing::{Fate, TestBus};
use tidings::{DedupPolicy, RetryPolicy, ShutdownError};
use tokio::time::Instant;

use super::{OrderPlaced, fates, order};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn backoffs_of_hours_take_no_real_time_and_keep_to_the_policy() {
    let policy = RetryPolicy::exponential().base(HOUR).cap(3 * HOUR);
    let bus = TestBus::builder("shop")
        .configure(|bus| bus.retry(policy).dedup(DedupPolicy::off()))
        .build()
        .await
        .unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    bus.with(Arc::clone(&calls))
        .on(async |calls: Arc<Mutex<Vec<Instant>>>, _: OrderPlaced| {
            calls.lock().unwrap().push(Instant::now());
            Err("down")
        });
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;

    let calls = calls.lock().unwrap().clone();
    assert_eq!(calls.len(), 5);
    for (wait, longest) in calls.windows(2).zip([1, 2, 3, 3]) {
        // A timer of tokio ends up to a millisecond late.
        let waited = wait[1] - wait[0];
        assert!(
            waited <= longest * HOUR + Duration::from_millis(1),
            "{waited:?} over {longest} h"
        );
    }
    assert!(calls[4] - calls[0] > SECOND, "four draws over hours");
    let handled = &bus.handled::<OrderPlaced>()[0];
    assert_eq!((handled.attempts, handled.fate), (5, Fate::DeadLettered));
    let dead = &bus.dead_letters("shop").await[0];
    assert_eq!(dead.attempts(), 5);
    let virtual_time =
        dead.last_failure().unwrap().as_micros() - dead.first_failure().unwrap().as_micros();
    assert_eq!(
        i128::from(virtual_time),
        (calls[4] - calls[0]).as_micros().cast_signed()
    );
}

#[tokio::test]
async fn an_attempt_ends_at_its_deadline() {
    let bus = TestBus::builder("shop")
        .configure(|bus| {
            bus.deadline(7 * SECOND)
                .retry(RetryPolicy::exponential().attempts(2))
        })
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| pending::<()>().await);
    let begin = Instant::now();
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;

    assert_eq!(bus.dead_letters("shop").await[0].reason(), "timed_out");
    let took = begin.elapsed();
    assert!(
        (14 * SECOND..15 * SECOND).contains(&took),
        "two deadlines and a backoff: {took:?}"
    );
}

#[tokio::test]
async fn a_duplicate_after_the_window_is_handled_again() {
    let bus = TestBus::builder("shop")
        .configure(|bus| bus.dedup(DedupPolicy::default().window(20 * MINUTE)))
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| ());
    for wait in [0, 19, 2] {
        bus.advance(wait * MINUTE).await;
        bus.emit(order(1)).id("once").await.unwrap();
        bus.settled().await;
    }
    let handled = bus.handled::<OrderPlaced>();
    assert_eq!(
        fates(&handled),
        [Fate::Completed, Fate::Duplicate, Fate::Completed]
    );
    assert_eq!(handled[1].attempts, 0, "a duplicate reaches no handler");
}

/// Fault F42: an outage must not turn the backlog into dead letters.
#[tokio::test]
async fn a_group_whose_events_all_fail_pauses_and_resumes() {
    let bus = TestBus::new("shop").await;
    let healthy = Arc::new(AtomicBool::new(false));
    bus.with(Arc::clone(&healthy))
        .on(async |healthy: Arc<AtomicBool>, _: OrderPlaced| {
            healthy
                .load(Ordering::Relaxed)
                .then_some(())
                .ok_or("the database is down")
        });
    let emitted = bus.emit_all((0..600).map(order)).await;
    assert!(emitted.iter().all(Result::is_ok));
    bus.advance(2 * HOUR).await;
    let during = bus.dead_letters("shop").await.len();
    assert!(
        (1..=20 + 32).contains(&during),
        "{during} dead letters after two hours"
    );
    assert_eq!(
        bus.handled::<OrderPlaced>().len(),
        during,
        "nothing else was given up"
    );

    healthy.store(true, Ordering::Relaxed);
    let healed = Instant::now();
    bus.settled().await;
    let resumed = healed.elapsed();
    // The longest wait for a probe is 30 s; what then waited runs within the retry budget.
    assert!(resumed < 5 * MINUTE, "resumed after {resumed:?}");
    assert_eq!(bus.dead_letters("shop").await.len(), during);
    let completed = |handled: &&tidings::testing::Handled| handled.fate == Fate::Completed;
    assert_eq!(
        bus.handled::<OrderPlaced>()
            .iter()
            .filter(completed)
            .count(),
        600 - during
    );
}

#[tokio::test]
async fn a_delayed_emit_waits_for_its_time() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    let due = bus.now().saturating_add(HOUR);
    bus.emit(order(1)).after(HOUR).await.unwrap();
    assert_eq!(bus.published::<OrderPlaced>()[0].delay(), Some(HOUR));
    bus.advance(59 * MINUTE).await;
    assert!(bus.handled::<OrderPlaced>().is_empty());
    bus.advance(MINUTE).await;
    let handled = bus.handled::<OrderPlaced>();
    assert_eq!(fates(&handled), [Fate::Completed]);
    let late = handled[0].at.as_micros() - due.as_micros();
    assert!((0..=1_000).contains(&late), "{late} µs late");
}

#[tokio::test]
async fn settled_waits_for_delays_and_backoff() {
    let bus = TestBus::new("shop").await;
    bus.on(async |order: tidings::Delivery<OrderPlaced>| {
        (order.attempt() > 3).then_some(()).ok_or("not yet")
    });
    let begin = Instant::now();
    bus.emit(order(1)).after(23 * HOUR).await.unwrap();
    bus.settled().await;
    assert!(begin.elapsed() >= 23 * HOUR);
    assert_eq!(bus.handled::<OrderPlaced>()[0].attempts, 4);
}

#[tokio::test]
async fn a_shutdown_ends_at_its_drain_deadline() {
    let bus = TestBus::builder("shop")
        .configure(|bus| {
            bus.drain(10 * SECOND)
                .deadline(HOUR)
                .dedup(DedupPolicy::off())
        })
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| pending::<()>().await);
    bus.emit(order(1)).await.unwrap();
    bus.advance(SECOND).await;
    let begin = Instant::now();
    let Err(ShutdownError::Unfinished(report)) = bus.shutdown().await else {
        panic!("a handler was still running")
    };
    assert_eq!(report.abandoned, 1, "{report}");
    // contract: S2
    let took = begin.elapsed();
    assert!((10 * SECOND..=11 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_already_is_fine() {
    let bus = TestBus::new("shop").await;
    assert_eq!(bus.now().to_string(), "2026-01-01T00:00:00Z");
    bus.advance(24 * HOUR).await;
    assert_eq!(bus.now().to_string(), "2026-01-02T00:00:00Z");
    bus.emit(order(1)).await.unwrap();
    assert_eq!(bus.published::<OrderPlaced>()[0].time(), Some(bus.now()));
}

#[tokio::test]
async fn advancing_visits_every_timer_in_its_turn() {
    let bus = TestBus::new("shop").await;
    let ticks = Arc::new(Mutex::new(Vec::new()));
    let (clock, seen) = (bus.clone(), Arc::clone(&ticks));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(MINUTE).await;
            seen.lock().unwrap().push(clock.now().to_string());
        }
    });
    bus.advance(3 * MINUTE).await;
    let expected = ["00:01:00", "00:02:00", "00:03:00"].map(|time| format!("2026-01-01T{time}Z"));
    assert_eq!(*ticks.lock().unwrap(), expected);
}
