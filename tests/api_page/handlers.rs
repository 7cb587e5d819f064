//! The page's registrations of handlers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidings::memory::Memory;
use tidings::transport::{Carried, Headers, Message, Name, Origin, Payload, Transport, field};
use tidings::{AnyEvent, Bus, Delivery, Event, RetryPolicy};

use crate::kit::{Log, OrderPaid, OrderPlaced, ParcelSent, bus, buses, order};

#[tokio::test]
async fn the_derive_declares_name_version_key_and_the_version_before() {
    assert_eq!(
        (OrderPlaced::NAME, OrderPlaced::VERSION),
        ("order.placed", 2)
    );
    assert_eq!(order("ord-1").key().as_deref(), Some("ord-1"));

    let memory = Memory::new();
    let bus = Bus::builder("order-service")
        .transport(memory.clone())
        .build()
        .await
        .unwrap();
    let log = Log::<OrderPlaced>::default();
    bus.with(log.clone())
        .on(async |log: Log<OrderPlaced>, order: OrderPlaced| log.add(order));
    let mut fields = Headers::new();
    fields.push(field::ID, "evt_1");
    fields.push(field::TYPE, "order.placed");
    fields.push(field::VERSION, "1");
    let old = Message {
        topic: Name::from_static("order.placed"),
        key: Some("ord-1".into()),
        envelope: Carried::Raw(fields),
        headers: Headers::new(),
        payload: Payload::Bytes(r#"{"order_id":"ord-1","total_cents":5999}"#.into()),
        delay: None,
    };
    memory.publish(old, Origin::default()).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        [OrderPlaced {
            user_id: "unknown".into(),
            ..order("ord-1")
        }]
    );
}

#[tokio::test]
async fn on_takes_the_event_by_value() {
    for bus in buses().await {
        let log = Log::<OrderPlaced>::default();
        let seen = log.clone();
        bus.on(move |order: OrderPlaced| {
            let seen = seen.clone();
            async move { seen.add(order) }
        });
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.take(), [order("ord-1")]);
    }
}

#[tokio::test]
async fn on_takes_the_event_shared_and_in_memory_it_is_the_very_one() {
    let bus = bus().await;
    let log = Log::<Arc<OrderPlaced>>::default();
    for name in ["one", "two"] {
        let state = log.clone();
        bus.named(name)
            .with(state)
            .on(async |log: Log<_>, order: Arc<OrderPlaced>| log.add(order));
    }
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();
    let seen = log.take();
    assert_eq!(seen.len(), 2);
    assert!(Arc::ptr_eq(&seen[0], &seen[1]), "moved, never copied");
}

static CHARGES: AtomicU32 = AtomicU32::new(0);

async fn charge_card(order: OrderPlaced) -> Result<(), std::io::Error> {
    let attempt = CHARGES.fetch_add(1, Ordering::SeqCst) + 1;
    match (&*order.order_id, attempt) {
        ("flaky", 3..) => Ok(()),
        _ => Err(std::io::Error::other("card declined")),
    }
}

#[tokio::test(start_paused = true)]
async fn on_takes_an_async_fn_whose_error_is_retried_then_dead_lettered() {
    let bus = bus().await;
    bus.on(charge_card);
    bus.emit(order("flaky")).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        CHARGES.swap(0, Ordering::SeqCst),
        3,
        "two failures, then done"
    );
    assert!(
        bus.dead_letters("order-service")
            .list()
            .await
            .unwrap()
            .is_empty()
    );

    bus.emit(order("hopeless")).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        CHARGES.swap(0, Ordering::SeqCst),
        5,
        "the default's five attempts"
    );
    let dead = bus.dead_letters("order-service").list().await.unwrap();
    let [letter] = &*dead else { panic!("{dead:?}") };
    assert_eq!(letter.handler(), "handlers::charge_card");
    assert_eq!((letter.error(), letter.attempts()), ("card declined", 5));
}

#[tokio::test(start_paused = true)]
async fn on_takes_a_delivery_with_its_metadata() {
    for bus in buses().await {
        let log = Log::<Delivery<OrderPlaced>>::default();
        let group = bus.group("audit");
        group
            .with(log.clone())
            .on(async |log: Log<_>, order: Delivery<OrderPlaced>| {
                let attempt = order.attempt();
                log.add(order);
                if attempt < 2 {
                    Err("once more")
                } else {
                    Ok(())
                }
            });
        let receipt = bus
            .emit(order("ord-1"))
            .header("region", "eu")
            .correlation("req-7")
            .await
            .unwrap();
        bus.settled().await.unwrap();
        let seen = log.take();
        assert_eq!(
            seen.iter().map(Delivery::attempt).collect::<Vec<_>>(),
            [1, 2]
        );
        for order in &seen {
            assert_eq!(order.id(), receipt.id(), "the same on every attempt");
            assert_eq!((order.name(), order.version()), ("order.placed", 2));
            assert_eq!(
                (order.source(), order.group()),
                ("order-service", "order-service.audit")
            );
            assert_eq!(
                (order.topic(), order.key()),
                ("order.placed", Some("ord-1"))
            );
            assert_eq!(order.header("region"), Some("eu"));
            assert_eq!(order.headers().len(), 1);
            assert_eq!(order.correlation_id(), &"req-7");
            assert_eq!(order.causation_id(), None);
            assert!(order.time().is_some() && order.trace().is_some());
            assert!(!order.is_cancelled());
            assert_eq!(order.total_cents, 5_999, "it dereferences to the event");
            assert_eq!(order.event(), &*order.shared());
        }
    }
}

#[derive(Clone, Default)]
struct Db(Log);

impl Db {
    async fn save(&self, id: &str) {
        self.0.add(format!("saved {id}"));
    }
}

#[derive(Default)]
struct Payments {
    charged: Log,
}

impl Payments {
    async fn charge(self: Arc<Self>, order: OrderPlaced) -> Result<(), std::io::Error> {
        self.charged.add(format!("charged {}", order.order_id));
        Ok(())
    }
}

async fn archive(db: Db, order: Arc<OrderPlaced>) {
    db.0.add(format!("archived {}", order.order_id));
}

#[tokio::test]
async fn with_gives_a_handler_state_as_a_method_a_closure_or_a_function() {
    let bus = bus().await;
    let (payments, db) = (Arc::new(Payments::default()), Db::default());
    bus.with(Arc::clone(&payments)).on(Payments::charge);
    bus.with(db.clone())
        .on(async |db: Db, order: OrderPlaced| db.save(&order.order_id).await);
    bus.with(db.clone()).on(archive);
    let cloned = db.clone();
    bus.named("cloned").on(move |order: OrderPlaced| {
        let db = cloned.clone();
        async move { db.save(&format!("{} too", order.order_id)).await }
    });
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(payments.charged.take(), ["charged ord-1"]);
    assert_eq!(
        db.0.take(),
        ["saved ord-1", "archived ord-1", "saved ord-1 too"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_is_a_named_independent_consumer_with_settings_of_its_own() {
    let bus = bus().await;
    let log = Log::default();
    let award = bus
        .group("loyalty-points")
        .concurrency(64)
        .retry(RetryPolicy::exponential().attempts(2))
        .deadline(Duration::from_secs(5));
    award
        .with(log.clone())
        .on(async |log: Log, _: OrderPlaced| {
            log.add("awards");
            Err("no points left")
        });
    bus.with(log.clone())
        .on(async |log: Log, _: OrderPlaced| log.add("charges"));
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();

    let mut seen = log.take();
    seen.sort();
    assert_eq!(
        seen,
        ["awards", "awards", "charges"],
        "two attempts there, none repeated here"
    );
    assert_eq!(&*award.wire_name(), "order-service.loyalty-points");
    assert_eq!(&*bus.group("audit").exact().wire_name(), "audit");
    let stats = award.stats().unwrap();
    assert_eq!(
        (stats.completed, stats.dead_lettered, stats.unsettled),
        (0, 1, 0)
    );
    assert_eq!(
        bus.dead_letters("loyalty-points")
            .list()
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        bus.dead_letters("order-service")
            .list()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_group_handles_at_most_its_concurrency_at_once() {
    let bus = bus().await;
    let running = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let group = bus.group("narrow").concurrency(3);
    group.with(Arc::clone(&running)).on(
        async |running: Arc<(AtomicU32, AtomicU32)>, _: ParcelSent| {
            let (now, most) = &*running;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
        },
    );
    for number in 0..40 {
        bus.emit(ParcelSent {
            order_id: number.to_string(),
        })
        .await
        .unwrap();
    }
    bus.settled().await.unwrap();
    assert_eq!(running.1.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn on_pattern_gets_every_matching_type_undecoded() {
    for bus in buses().await {
        let log = Log::<AnyEvent>::default();
        let seen = log.clone();
        bus.group("audit")
            .on_pattern("order.*", move |event: AnyEvent| {
                let seen = seen.clone();
                async move { seen.add(event) }
            });
        bus.emit(order("ord-1"))
            .header("region", "eu")
            .await
            .unwrap();
        bus.emit(OrderPaid {
            order_id: "ord-1".into(),
        })
        .await
        .unwrap();
        bus.emit(ParcelSent {
            order_id: "ord-1".into(),
        })
        .await
        .unwrap();
        bus.settled().await.unwrap();
        let mut seen = log.take();
        seen.sort_by_key(|event| event.name().to_owned());
        let [paid, placed] = &*seen else {
            panic!("{seen:?}")
        };
        assert_eq!((paid.name(), paid.version()), ("order.paid", 1));
        assert_eq!((placed.name(), placed.version()), ("order.placed", 2));
        assert_eq!(
            (placed.topic(), placed.key()),
            ("order.placed", Some("ord-1"))
        );
        assert_eq!(placed.headers().get_str("region"), Some("eu"));
        assert_eq!(placed.json().unwrap()["total_cents"], 5_999);
        assert_eq!(placed.decode::<OrderPlaced>().unwrap(), order("ord-1"));
        assert_eq!(placed.group(), "order-service.audit");
    }
}
