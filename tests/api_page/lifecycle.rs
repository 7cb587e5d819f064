//! The page's `start`, `shutdown`, `explain` and `has_handlers`; `run` is in `process`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tidings::memory::Memory;
use tidings::transport::Reason;
use tidings::{Bus, Delivery, ShutdownError};

use crate::kit::{Log, OrderPaid, OrderPlaced, ParcelSent, bus, order};

#[tokio::test]
async fn a_transport_is_one_line_and_no_handler_changes() {
    async fn works(bus: Bus) {
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log, order: OrderPlaced| log.add(order.order_id));
        bus.start().await.unwrap();
        bus.emit(order("ord-1")).await.unwrap();
        let report = bus.shutdown().await.unwrap();
        assert_eq!((report.finished, log.take()), (1, vec!["ord-1".to_owned()]));
    }
    works(Bus::builder("order-service").build().await.unwrap()).await;
    works(
        Bus::builder("order-service")
            .transport(Memory::new())
            .build()
            .await
            .unwrap(),
    )
    .await;
    works(
        Bus::connect("order-service", "memory://?encoded=true")
            .await
            .unwrap(),
    )
    .await;
}

#[tokio::test]
async fn start_checks_every_registration_and_lists_all_that_is_wrong() {
    let bus = bus().await;
    bus.named("charge").on(async |_: OrderPlaced| {});
    let twice = bus.named("charge").on(async |_: OrderPaid| {});
    let zero = bus
        .group("zero")
        .concurrency(0)
        .on(async |_: ParcelSent| {});
    assert!(!twice.is_accepted() && !zero.is_accepted());
    let error = bus.start().await.unwrap_err();
    let problems = error.problems();
    assert_eq!(problems.len(), 2, "{error}");
    assert!(
        problems[0].contains("two handlers named \"charge\""),
        "{error}"
    );
    assert!(
        problems[0].contains("lifecycle.rs"),
        "with both places: {error}"
    );
    assert!(
        problems[1].contains("concurrency is 0: use 1 or more"),
        "{error}"
    );
    assert_eq!(bus.explain().problems(), problems);
    let refused = bus
        .emit(OrderPaid {
            order_id: "ord-1".into(),
        })
        .await
        .unwrap_err();
    assert!(
        matches!(refused.reason(), Reason::Invalid(text) if text.contains("charge")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn start_twice_is_harmless() {
    let bus = bus().await;
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log, order: OrderPlaced| log.add(order.order_id));
    bus.start().await.unwrap();
    bus.start().await.unwrap();
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["ord-1"]);
}

#[tokio::test]
async fn shutdown_drains_reports_and_closes() {
    let bus = bus().await;
    let log = Log::default();
    let state = (bus.clone(), log.clone());
    bus.with(state).on(
        async |(bus, log): (Bus, Log), order: Delivery<OrderPlaced>| {
            order.cancelled().await;
            log.add(format!(
                "draining {}, told so: {}",
                order.order_id,
                order.is_cancelled()
            ));
            // contract: S3, a draining handler may emit
            bus.emit(OrderPaid {
                order_id: order.order_id.clone(),
            })
            .await
            .unwrap();
        },
    );
    bus.with(log.clone())
        .on(async |log: Log, _: OrderPaid| log.add("paid"));
    bus.emit(order("ord-1")).await.unwrap();
    let report = bus.shutdown().await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.finished, 2);
    assert_eq!(log.take(), ["draining ord-1, told so: true", "paid"]);

    let closed = bus.emit(order("ord-2")).await.unwrap_err();
    assert!(closed.is_closed() && closed.is_not_published());
    assert_eq!(closed.event(), &order("ord-2"));
    assert!(bus.try_emit(order("ord-3")).unwrap_err().is_closed());
    assert_eq!(
        bus.shutdown().await.unwrap().finished,
        0,
        "a second call finds nothing left"
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_err_with_the_report_when_something_is_left() {
    let bus = Bus::builder("order-service")
        .drain(Duration::from_secs(2))
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| std::future::pending::<()>().await);
    bus.emit(order("ord-1")).await.unwrap();
    let begin = tokio::time::Instant::now();
    let error = bus.shutdown().await.unwrap_err();
    assert!(begin.elapsed() <= Duration::from_secs(3), "contract: S2");
    assert!(matches!(error, ShutdownError::Unfinished(_)));
    assert_eq!(error.report().unwrap().abandoned, 1);
    assert!(error.to_string().contains("abandoned 1"), "{error}");
}

#[tokio::test]
async fn explain_says_how_the_bus_is_put_together() {
    let bus = bus().await;
    bus.on(async |_: OrderPlaced| {});
    bus.group("audit")
        .unordered()
        .concurrency(7)
        .on_pattern("order.#", async |_| {});
    let text = bus.explain().to_string();
    for part in [
        "bus order-service on memory (connected)",
        "transport can: order, groups",
        "group order-service: concurrency 32, window 256, 5 attempts",
        "handles order.placed v2",
        "lifecycle.rs",
        "group order-service.audit: concurrency 7",
        "unordered",
        "every topic order.#",
        "order-service.audit.dead",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(bus.explain().problems().is_empty());
}

#[tokio::test]
async fn has_handlers_knows_handlers_listeners_and_patterns_by_type() {
    let bus = bus().await;
    assert!(!bus.has_handlers::<OrderPlaced>());
    let handler = bus.on(async |_: OrderPlaced| {});
    assert!(bus.has_handlers::<OrderPlaced>() && !bus.has_handlers::<OrderPaid>());
    handler.off().await.unwrap();
    assert!(!bus.has_handlers::<OrderPlaced>());
    let listener = bus.listen(|_: &OrderPaid| {});
    assert!(bus.has_handlers::<OrderPaid>());
    listener.off().await.unwrap();
    let pattern = bus.on_pattern("order.*", async |_| {});
    assert!(bus.has_handlers::<OrderPlaced>() && bus.has_handlers::<OrderPaid>());
    assert!(!bus.has_handlers::<ParcelSent>());
    pattern.off().await.unwrap();
    bus.on_any(|_| {});
    assert!(
        !bus.has_handlers::<OrderPaid>(),
        "a tap sees everything and says nothing of a type"
    );
}
