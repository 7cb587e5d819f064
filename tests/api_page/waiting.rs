//! `settled`: nothing is left to do, backoff, delays and cascades included.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidings::{Bus, RetryPolicy};
use tokio::time::Instant;

use crate::kit::{Log, OrderPaid, OrderPlaced, ParcelSent, bus, buses, order};

#[tokio::test]
async fn settled_is_true_at_once_where_nothing_was_emitted() {
    for bus in buses().await {
        bus.settled().await.unwrap();
        bus.on(async |_: OrderPlaced| {});
        bus.settled().await.unwrap();
    }
}

/// From one group to the next and back, with waits between.
fn cascade(bus: &Bus) -> Log {
    let log = Log::default();
    let state = (bus.clone(), log.clone());
    bus.with(state.clone())
        .on(async |(bus, log): (Bus, Log), order: OrderPlaced| {
            tokio::task::yield_now().await;
            log.add("placed");
            bus.emit(OrderPaid {
                order_id: order.order_id,
            })
            .await
            .unwrap();
        });
    bus.group("shipping")
        .with(state)
        .on(async |(bus, log): (Bus, Log), paid: OrderPaid| {
            tokio::task::yield_now().await;
            log.add("paid");
            bus.emit(ParcelSent {
                order_id: paid.order_id,
            })
            .await
            .unwrap();
        });
    bus.with(log.clone()).on(async |log: Log, _: ParcelSent| {
        tokio::task::yield_now().await;
        log.add("sent");
    });
    log
}

#[tokio::test]
async fn settled_waits_for_cascades() {
    for bus in buses().await {
        let log = cascade(&bus);
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.take(), ["placed", "paid", "sent"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn settled_misses_no_cascade_on_other_threads() {
    for bus in buses().await {
        let log = cascade(&bus);
        for round in 0..300 {
            bus.emit(order(&round.to_string())).await.unwrap();
            bus.settled().await.unwrap();
            let seen = log.take();
            assert_eq!(seen, ["placed", "paid", "sent"], "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settled_waits_for_backoffs() {
    for bus in buses().await {
        let attempts = Arc::new(AtomicU32::new(0));
        let patient = RetryPolicy::exponential()
            .attempts(4)
            .base(Duration::from_secs(20));
        let group = bus.group("patient").retry(patient);
        group
            .with(Arc::clone(&attempts))
            .on(async |attempts: Arc<AtomicU32>, _: OrderPlaced| {
                match attempts.fetch_add(1, Ordering::SeqCst) {
                    3.. => Ok(()),
                    _ => Err("not yet"),
                }
            });
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(attempts.load(Ordering::SeqCst), 4);
        assert_eq!(group.stats().unwrap().completed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn settled_waits_for_delays_and_for_what_they_lead_to() {
    let bus = bus().await;
    let log = Log::default();
    let hour = Duration::from_secs(3_600);
    let state = (bus.clone(), log.clone());
    bus.with(state)
        .on(async |(bus, log): (Bus, Log), order: OrderPlaced| {
            log.add("placed");
            let paid = OrderPaid {
                order_id: order.order_id,
            };
            bus.emit(paid)
                .after(Duration::from_secs(3_600))
                .await
                .unwrap();
        });
    bus.with(log.clone())
        .on(async |log: Log, _: OrderPaid| log.add("paid"));
    let begin = Instant::now();
    bus.emit(order("ord-1")).after(hour).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["placed", "paid"]);
    assert!(begin.elapsed() >= 2 * hour, "{:?}", begin.elapsed());
}
