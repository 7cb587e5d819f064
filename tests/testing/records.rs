//! What was published and handled.

use tidings::testing::{Fate, TestBus, raw};
use tidings::transport::{Message, PublishError, Receipt};
use tidings::{Bus, Delivery, Middleware, NextPublish, async_trait, permanent};

use super::{OrderPlaced, PaymentCompleted, fates, order};

#[tokio::test]
async fn published_tells_events_with_everything_they_went_with() {
    let bus = TestBus::new("shop").await;
    bus.emit(order(1)).await.unwrap();
    bus.emit(order(2))
        .key("k")
        .id("id-2")
        .header("region", "eu")
        .correlation("c")
        .await
        .unwrap();
    bus.try_emit(order(3)).unwrap();
    bus.publisher::<OrderPlaced>().try_emit(order(4)).unwrap();

    let published = bus.published::<OrderPlaced>();
    assert_eq!(
        published.iter().map(|it| &*it.order_id).collect::<Vec<_>>(),
        ["1", "2", "3", "4"]
    );
    assert_eq!(*published[0], order(1));
    assert_eq!(
        (published[0].key(), published[0].topic()),
        (Some("1"), "order.placed")
    );
    assert_eq!(published[0].source(), "shop");
    assert_eq!(published[0].correlation_id(), published[0].id());
    assert_eq!(published[0].causation_id(), None);
    assert_eq!(
        (published[1].key(), published[1].header("region")),
        (Some("k"), Some("eu"))
    );
    assert_eq!(
        (published[1].id(), published[1].correlation_id()),
        (&"id-2".into(), &"c".into())
    );
    assert!(bus.published::<PaymentCompleted>().is_empty());
}

#[tokio::test]
async fn what_handlers_emit_is_published_too_behind_its_cause() {
    let bus = TestBus::new("shop").await;
    bus.with(bus.bus())
        .on(async |bus: Bus, order: OrderPlaced| {
            bus.emit(PaymentCompleted {
                order_id: order.order_id,
            })
            .await
            .map(drop)
        });
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;
    let (placed, paid) = (
        &bus.published::<OrderPlaced>()[0],
        &bus.published::<PaymentCompleted>()[0],
    );
    assert_eq!((&*paid.order_id, paid.key()), ("1", Some("1")));
    assert_eq!(paid.causation_id(), Some(placed.id()));
    assert_eq!(paid.correlation_id(), placed.id());
    assert_eq!(
        paid.trace().unwrap().trace_id(),
        placed.trace().unwrap().trace_id()
    );
}

/// Five events through a queue of one: four of the emits wait, and are told after handlers ran.
#[tokio::test]
async fn published_keeps_the_order_of_emits_that_waited() {
    let bus = TestBus::builder("shop")
        .configure(|bus| bus.queue(1))
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| tokio::task::yield_now().await);
    assert!(
        bus.emit_all((0..50).map(order))
            .await
            .iter()
            .all(Result::is_ok)
    );
    let ids: Vec<_> = bus
        .published::<OrderPlaced>()
        .iter()
        .map(|it| it.order_id.clone())
        .collect();
    assert_eq!(ids, (0..50).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_not_published_is_not_listed() {
    let bus = TestBus::new("shop").await;
    bus.emit(order(1))
        .header("bad\nname", "x")
        .await
        .unwrap_err();
    drop(bus.emit(order(2)));
    assert!(bus.published::<OrderPlaced>().is_empty());
    bus.shutdown().await.unwrap();
    bus.emit(order(3)).await.unwrap_err();
    assert!(bus.published::<OrderPlaced>().is_empty());
}

struct Regional;

#[async_trait]
impl Middleware for Regional {
    async fn publish(
        &self,
        mut message: Message,
        next: NextPublish<'_>,
    ) -> Result<Receipt, PublishError> {
        if message.key.as_deref() == Some(b"swallowed") {
            return Ok(Receipt::default());
        }
        message.headers.push("region", "eu");
        next.run(message).await
    }
}

#[tokio::test]
async fn published_tells_what_a_middleware_made_of_it() {
    let bus = TestBus::builder("shop")
        .configure(|bus| bus.around_publish(Regional))
        .build()
        .await
        .unwrap();
    bus.emit(order("swallowed")).await.unwrap();
    bus.emit(order(1)).await.unwrap();
    let published = bus.published::<OrderPlaced>();
    assert_eq!(
        published.len(),
        1,
        "what never reached the transport was not published"
    );
    assert_eq!(
        (&*published[0].order_id, published[0].header("region")),
        ("1", Some("eu"))
    );
}

#[tokio::test]
async fn listeners_see_recorded_emits_as_any_other() {
    let bus = TestBus::new("shop").await;
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let ears = heard.clone();
    bus.listen(move |order: &OrderPlaced| ears.lock().unwrap().push(order.order_id.clone()));
    bus.emit(order(1)).await.unwrap();
    bus.try_emit(order(2)).unwrap();
    assert_eq!(*heard.lock().unwrap(), ["1", "2"]);
    assert_eq!(bus.published::<OrderPlaced>().len(), 2);
}

#[tokio::test]
async fn handled_tells_each_handler_of_each_group() {
    let bus = TestBus::new("shop").await;
    bus.named("flaky")
        .on(async |order: Delivery<OrderPlaced>| (order.attempt() > 1).then_some(()).ok_or("busy"));
    bus.group("audit")
        .named("strict")
        .on(async |_: OrderPlaced| Err(permanent("no")));
    let receipt = bus.emit(order(1)).await.unwrap();
    bus.settled().await;

    let mut handled = bus.handled::<OrderPlaced>();
    handled.sort_by(|a, b| a.group.cmp(&b.group));
    let [own, audit] = &handled[..] else {
        panic!("{handled:?}")
    };
    assert_eq!(
        (&*own.group, &*own.handler, own.attempts),
        ("shop", "flaky", 2)
    );
    assert_eq!(
        (&*audit.group, &*audit.handler, audit.attempts),
        ("shop.audit", "strict", 1)
    );
    assert_eq!(fates(&handled), [Fate::Completed, Fate::DeadLettered]);
    assert!(handled.iter().all(|handled| handled.id == *receipt.id()));
    assert_eq!(own.key.as_deref(), Some(&b"1"[..]));
    assert_eq!(bus.dead_letters("audit").await.len(), 1);
    assert!(bus.dead_letters("shop").await.is_empty());
}

#[tokio::test]
async fn handled_tells_what_reached_no_handler() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    bus.inject(raw("order.placed").key("1").tombstone())
        .await
        .unwrap();
    let unreadable = raw("order.placed")
        .field("type", "order.placed")
        .field("eventversion", "0");
    bus.inject(unreadable.field("id", "forged")).await.unwrap();
    bus.settled().await;
    let handled = bus.all_handled();
    assert_eq!(
        fates(&handled),
        [Fate::Skipped("tombstone"), Fate::DeadLettered]
    );
    assert_eq!((&*handled[1].handler, handled[1].attempts), ("", 0));
    assert_eq!(
        (handled[1].id.to_string(), handled[1].is::<OrderPlaced>()),
        ("forged".into(), true)
    );
}

#[tokio::test]
async fn handled_tells_what_a_shutdown_gave_back() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| Err("down"));
    bus.emit(order(1)).await.unwrap();
    bus.advance(std::time::Duration::ZERO).await;
    bus.shutdown().await.unwrap_err();
    let handled = bus.handled::<OrderPlaced>();
    assert_eq!(fates(&handled), [Fate::HandedBack]);
    assert_eq!(
        handled[0].attempts, 2,
        "a waiting retry runs its next attempt at once (S2)"
    );
}
