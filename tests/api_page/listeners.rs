//! The page's listeners, streams and waits.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{FutureExt, StreamExt};
use tidings::{Lagged, NeverCame, Overflow};

use crate::kit::{Log, OrderPaid, OrderPlaced, bus, order};

#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn listen_runs_inside_the_emit() {
    let bus = bus().await;
    let counter = Counter::default();
    let counts = counter.clone();
    bus.listen(move |order: &OrderPlaced| counts.add(order.total_cents));
    bus.emit(order("ord-1")).await.unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), 5_999);
}

#[tokio::test]
async fn once_runs_once_and_off_ends_a_registration() {
    let bus = bus().await;
    let log = Log::<String>::default();
    let [once, always] = [log.clone(), log.clone()];
    bus.once(move |order: &OrderPlaced| once.add(format!("once {}", order.order_id)));
    let subscription = bus.listen(move |order: &OrderPlaced| always.add(&*order.order_id));
    bus.emit(order("ord-1")).await.unwrap();
    bus.emit(order("ord-2")).await.unwrap();
    subscription.off().await.unwrap();
    bus.emit(order("ord-3")).await.unwrap();
    assert_eq!(log.take(), ["once ord-1", "ord-1", "ord-2"]);
}

#[tokio::test]
async fn on_any_sees_every_type() {
    let bus = bus().await;
    let log = Log::<String>::default();
    let seen = log.clone();
    let tap = bus.on_any(move |tap| {
        let order = tap
            .downcast_ref::<OrderPlaced>()
            .map(|order| order.order_id.clone());
        seen.add(format!(
            "{} v{} on {}: {order:?} {}",
            tap.name(),
            tap.version(),
            tap.topic(),
            tap.id()
        ));
    });
    let placed = bus.emit(order("ord-1")).await.unwrap();
    let paid = bus
        .emit(OrderPaid {
            order_id: "ord-1".into(),
        })
        .await
        .unwrap();
    tap.off().await.unwrap();
    bus.emit(order("ord-2")).await.unwrap();
    assert_eq!(
        log.take(),
        [
            format!(
                "order.placed v2 on order.placed: Some(\"ord-1\") {}",
                placed.id()
            ),
            format!("order.paid v1 on order.paid: None {}", paid.id()),
        ]
    );
}

#[tokio::test]
async fn stream_yields_what_is_emitted_from_now_on() {
    let bus = bus().await;
    bus.emit(order("too early")).await.unwrap();
    let mut stream = bus.stream::<OrderPlaced>();
    assert_eq!(stream.next().now_or_never(), None);
    bus.emit(order("ord-1")).await.unwrap();
    bus.emit(order("ord-2")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().order_id, "ord-1");
    assert_eq!(stream.next().await.unwrap().unwrap().order_id, "ord-2");
    bus.shutdown().await.unwrap();
    assert!(stream.next().await.is_none(), "it ends with the bus");
}

#[tokio::test]
async fn a_full_stream_makes_no_emit_wait_and_says_what_is_missing() {
    type Item = Result<&'static str, u64>;
    let cases: [(Overflow, &[Item]); 3] = [
        (Overflow::DropOldest, &[Err(3), Ok("4"), Ok("5")]),
        (Overflow::DropNewest, &[Ok("1"), Ok("2"), Err(3)]),
        (Overflow::End, &[Ok("1"), Ok("2"), Err(1)]),
    ];
    for (policy, expected) in cases {
        let bus = bus().await;
        let stream = bus.stream::<OrderPlaced>().capacity(2).overflow(policy);
        for id in ["1", "2", "3", "4", "5"] {
            bus.try_emit(order(id)).unwrap();
        }
        bus.shutdown().await.unwrap();
        let items: Vec<_> = stream
            .map(|item| {
                item.map(|order| order.order_id.clone())
                    .map_err(|Lagged { missed }| missed)
            })
            .collect()
            .await;
        let expected: Vec<_> = expected
            .iter()
            .map(|item| item.map(str::to_owned))
            .collect();
        assert_eq!(items, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn wait_for_ends_with_the_first_event_that_fits() {
    let bus = bus().await;
    let cheap = bus.wait_for::<OrderPlaced>(|order| order.total_cents < 100);
    bus.emit(order("ord-1")).await.unwrap();
    bus.emit(OrderPlaced {
        total_cents: 99,
        ..order("ord-2")
    })
    .await
    .unwrap();
    bus.emit(OrderPlaced {
        total_cents: 98,
        ..order("ord-3")
    })
    .await
    .unwrap();
    assert_eq!(cheap.await.unwrap().order_id, "ord-2");
    assert!(!bus.has_handlers::<OrderPlaced>(), "and listens no longer");

    let never = bus.wait_for::<OrderPlaced>(|_| false);
    bus.shutdown().await.unwrap();
    assert_eq!(never.await, Err(NeverCame));
}
