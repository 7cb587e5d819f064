//! How to test what goes wrong: five situations, each in at most ten lines.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::testing::{Fate, TestBus, raw};
use tidings::{Delivery, Event, permanent};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
struct OrderPlaced {
    order_id: String,
}

fn order(id: impl ToString) -> OrderPlaced {
    OrderPlaced { order_id: id.to_string() }
}

/// Ids that were seen; one that comes twice is there once.
type Seen = Arc<Mutex<BTreeSet<String>>>;

#[tokio::test]
async fn a_handler_that_fails_twice() {
    let bus = TestBus::new("shop").await;
    bus.on(async |order: Delivery<OrderPlaced>| match order.attempt() {
        1 | 2 => Err("the gateway is busy"),
        _ => Ok(()),
    });
    bus.emit(order("ord-1")).await.expect("published");
    bus.settled().await;
    assert_eq!(bus.handled::<OrderPlaced>()[0].attempts, 3);
    assert!(bus.dead_letters("shop").await.is_empty());
}

#[tokio::test]
async fn a_handler_that_crashes_halfway() {
    let (bus, reserved, shipped) = (TestBus::new("shop").await, Seen::default(), Seen::default());
    bus.with((reserved.clone(), shipped.clone())).on(async |stock: (Seen, Seen), order: Delivery<OrderPlaced>| {
        stock.0.lock().expect("no panic here").insert(order.order_id.clone());
        assert!(order.attempt() > 1, "the power went out");
        stock.1.lock().expect("no panic here").insert(order.order_id.clone());
    });
    bus.emit(order("ord-1")).await.expect("published");
    bus.settled().await;
    assert_eq!((reserved.lock().expect("idle").len(), shipped.lock().expect("idle").len()), (1, 1));
}

#[tokio::test]
async fn bytes_that_do_not_decode() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    bus.inject(raw("order.placed").key("ord-1").body("{\"order_id\": oops")).await.expect("sent");
    bus.emit(order("ord-1")).await.expect("published");
    bus.settled().await;
    let dead = bus.dead_letters("shop").await;
    assert_eq!((dead[0].reason(), &dead[0].bytes()[..]), ("not_json", &b"{\"order_id\": oops"[..]));
    assert_eq!(bus.handled::<OrderPlaced>()[1].fate, Fate::Completed);
}

#[tokio::test]
async fn a_duplicate() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    bus.emit(order("ord-1")).id("checkout-7").await.expect("published");
    bus.emit(order("ord-1")).id("checkout-7").await.expect("published");
    bus.settled().await;
    let fates: Vec<Fate> = bus.handled::<OrderPlaced>().iter().map(|handled| handled.fate).collect();
    assert_eq!(fates, [Fate::Completed, Fate::Duplicate]);
}

#[tokio::test]
async fn dead_letters_filling_up() {
    let bus = TestBus::builder("shop").memory(|memory| memory.dead_letters(3)).build().await;
    let bus = bus.expect("sound settings");
    bus.on(async |_: OrderPlaced| Err(permanent("no such product")));
    bus.emit_all((1..=5).map(order)).await;
    bus.advance(Duration::from_secs(3_600)).await;
    assert_eq!(bus.handled::<OrderPlaced>().len(), 3, "the other two wait, for nothing is lost");
    assert_eq!(bus.take_dead_letters("shop").await.len(), 3);
    bus.settled().await;
    assert_eq!(bus.dead_letters("shop").await.len(), 2);
}
