//! The page's emits.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use tidings::memory::Memory;
use tidings::transport::Reason;
use tidings::{Bus, CompletedError, Completion, Delivery, Publisher, Receipt};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::kit::{Log, OrderPlaced, bus, buses, order};

/// A bus whose one group notes what it gets, as `<order> by <key>`.
fn noting(bus: &Bus) -> Log {
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log, order: Delivery<OrderPlaced>| {
            log.add(format!(
                "{} by {}",
                order.order_id,
                order.key().unwrap_or("nothing")
            ));
        });
    log
}

#[tokio::test]
async fn emit_is_ok_once_every_group_has_it() {
    let bus = bus().await;
    assert!(
        bus.emit(order("ord-0")).await.unwrap().groups().is_empty(),
        "nobody subscribed"
    );
    let log = noting(&bus);
    bus.group("audit").on(async |_: OrderPlaced| {});
    let receipt = bus.emit(order("ord-1")).await.unwrap();
    let mut groups: Vec<_> = receipt.groups().iter().map(ToString::to_string).collect();
    groups.sort();
    assert_eq!(groups, ["order-service", "order-service.audit"]);
    assert_eq!(receipt.position(), None);
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["ord-1 by ord-1"]);
}

#[tokio::test]
async fn an_emit_does_nothing_until_it_is_awaited() {
    let bus = bus().await;
    let log = noting(&bus);
    drop(bus.emit(order("never")));
    let later = bus.emit(order("later")).into_future();
    bus.emit(order("now")).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["now by now"]);
    later.await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["later by later"]);
}

#[tokio::test]
async fn a_publisher_emits_and_try_emits() {
    for bus in buses().await {
        let log = noting(&bus);
        let orders = bus.publisher::<OrderPlaced>();
        orders.emit(order("ord-1")).await.unwrap();
        orders.try_emit(order("ord-2")).unwrap();
        // One per task, made by cloning.
        let task = tokio::spawn({
            let orders = orders.clone();
            async move { orders.emit(order("ord-3")).await.unwrap() }
        });
        assert!(!task.await.unwrap().id().to_string().is_empty());
        bus.settled().await.unwrap();
        assert_eq!(
            log.take(),
            ["ord-1 by ord-1", "ord-2 by ord-2", "ord-3 by ord-3"]
        );
    }
}

#[tokio::test]
async fn try_emit_never_waits_and_hands_the_event_back() {
    let memory = Memory::new().queue(1);
    let bus = Bus::builder("order-service")
        .transport(memory)
        .build()
        .await
        .unwrap();
    let log = noting(&bus);
    // On this runtime nothing is taken from the queue before the next await.
    bus.try_emit(order("ord-1")).unwrap();
    let error = bus.publisher().try_emit(order("ord-2")).unwrap_err();
    assert!(error.is_full() && error.is_not_published() && !error.is_unknown());
    assert!(matches!(
        error.reason(),
        Reason::Full {
            own_queue: false,
            ..
        }
    ));
    assert_eq!(error.event(), &order("ord-2"));
    let id = error.id().clone();
    let receipt = bus.emit_again(error).await.unwrap();
    assert_eq!(receipt.id(), &id, "the same event");
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["ord-1 by ord-1", "ord-2 by ord-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_emit_takes_a_key_an_id_a_header_and_a_delay() {
    for bus in buses().await {
        let log = Log::<Delivery<OrderPlaced>>::default();
        bus.with(log.clone())
            .on(async |log: Log<_>, order: Delivery<OrderPlaced>| log.add(order));
        let minute = Duration::from_secs(60);
        let begin = Instant::now();
        let receipt = bus
            .emit(order("ord-1"))
            .key("k")
            .id("ord-1")
            .header("a", "b")
            .after(minute)
            .await
            .unwrap();
        assert_eq!(
            begin.elapsed(),
            Duration::ZERO,
            "the emit does not wait for it"
        );
        assert_eq!(receipt.id(), &"ord-1");
        bus.settled().await.unwrap();
        assert!(begin.elapsed() >= minute, "{:?}", begin.elapsed());
        let seen = log.take();
        let [order] = &*seen else { panic!("{seen:?}") };
        assert_eq!(order.key(), Some("k"));
        assert_eq!(order.id(), &"ord-1");
        assert_eq!(order.header("a"), Some("b"));
    }
}

#[tokio::test]
async fn an_id_of_ones_own_makes_two_emits_one_event() {
    for bus in buses().await {
        let log = noting(&bus);
        for _ in 0..3 {
            bus.emit(order("ord-1")).id("evt-1").await.unwrap();
        }
        bus.settled().await.unwrap();
        assert_eq!(log.take(), ["ord-1 by ord-1"]);
    }
}

#[tokio::test]
async fn emit_all_emits_in_order_with_one_result_each() {
    for bus in buses().await {
        let log = noting(&bus);
        let ids: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
        let results = bus.emit_all(ids.iter().map(|id| order(id))).await;
        assert_eq!(results.len(), ids.len());
        assert!(results.iter().all(Result::is_ok));
        // Nobody's key but one: their order is that of the emits.
        let same_key = ids.iter().map(|id| OrderPlaced {
            user_id: id.clone(),
            ..order("one")
        });
        bus.settled().await.unwrap();
        assert_eq!(log.take().len(), ids.len());
        let seen = Log::default();
        let users = bus.group("users").with(seen.clone());
        users.on(async |seen: Log, order: OrderPlaced| seen.add(order.user_id));
        bus.emit_all(same_key)
            .await
            .into_iter()
            .for_each(|result| drop(result.unwrap()));
        bus.settled().await.unwrap();
        assert_eq!(seen.take(), ids);
    }
}

#[tokio::test(start_paused = true)]
async fn completed_reports_how_every_handler_ended() {
    let bus = bus().await;
    bus.named("fine").on(async |_: OrderPlaced| {});
    bus.named("hopeless")
        .on(async |_: OrderPlaced| Err("never"));
    bus.group("audit")
        .named("audit")
        .on(async |_: OrderPlaced| {});
    let completion = bus
        .emit(order("ord-1"))
        .id("evt-1")
        .completed()
        .await
        .unwrap();
    assert!(!completion.is_ok());
    assert_eq!(
        ended(&completion),
        [
            "order-service fine Completed",
            "order-service hopeless DeadLettered",
            "order-service.audit audit Completed",
        ]
    );
    let again = bus
        .emit(order("ord-1"))
        .id("evt-1")
        .completed()
        .await
        .unwrap();
    assert!(
        ended(&again).contains(&"order-service fine Duplicate".to_owned()),
        "{again:?}"
    );
    // Nobody handles it, so there is nothing to wait for.
    let nobody = Bus::builder("other").build().await.unwrap();
    let completion = nobody.emit(order("ord-1")).completed().await.unwrap();
    assert!(completion.is_ok() && completion.outcomes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn completed_ends_when_the_bus_does() {
    let bus = Bus::builder("order-service")
        .drain(Duration::from_secs(1))
        .build()
        .await
        .unwrap();
    let began = Arc::new(Notify::new());
    bus.with(Arc::clone(&began))
        .on(async |began: Arc<Notify>, _: OrderPlaced| {
            began.notify_one();
            std::future::pending::<()>().await;
        });
    let waits = tokio::spawn({
        let bus = bus.clone();
        async move { bus.emit(order("ord-1")).completed().await }
    });
    began.notified().await;
    bus.shutdown().await.unwrap_err();
    assert!(matches!(waits.await.unwrap(), Err(CompletedError::Closed)));
}

fn ended(completion: &Completion) -> Vec<String> {
    let mut ended: Vec<_> = completion
        .outcomes
        .iter()
        .map(|outcome| format!("{} {} {:?}", outcome.group, outcome.handler, outcome.ended))
        .collect();
    ended.sort();
    ended
}

/// What is shared between tasks may be, and every future of the page can be spawned.
#[tokio::test]
async fn the_bus_is_shared_and_its_futures_are_send() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let bus = bus().await;
    shared(&bus);
    shared(&Receipt::default());
    shared(&Arc::new(bus.group("g")));
    let orders: Publisher<OrderPlaced> = sent(bus.publisher());
    sent(orders.emit(order("1")).into_future()).await.unwrap();
    sent(bus.emit(order("1")).into_future()).await.unwrap();
    sent(bus.emit(order("1")).completed()).await.unwrap();
    sent(bus.emit_all([order("1")]))
        .await
        .pop()
        .unwrap()
        .unwrap();
    sent(bus.context().scope(async {})).await;
    sent(bus.start()).await.unwrap();
    sent(bus.settled()).await.unwrap();
    drop(sent(bus.run()));
    drop(sent(bus.wait_for(|_: &OrderPlaced| true)));
    drop(sent(bus.stream::<OrderPlaced>()));
    sent(bus.listen(|_: &OrderPlaced| {}).off()).await.unwrap();
    sent(bus.shutdown()).await.unwrap();
}
