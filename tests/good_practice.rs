//! How to test what goes wrong: five situations, each in at most ten lines.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::testing::{Fate, TestBus, raw};
use tidings::{Delivery, Event, permanent};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
struct OrderPlaced {
    order_id: u32,
}

fn order(order_id: u32) -> OrderPlaced {
    OrderPlaced { order_id }
}

#[tokio::test]
async fn a_handler_that_fails_twice() {
    let bus = TestBus::new("shop").await;
    bus.on(async |order: Delivery<OrderPlaced>| match order.attempt() {
        1 | 2 => Err("the gateway is busy"),
        _ => Ok(()),
    });
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;
    assert_eq!(bus.handled::<OrderPlaced>()[0].attempts, 3);
    assert!(bus.dead_letters("shop").await.is_empty());
}

#[tokio::test]
async fn a_handler_that_crashes_halfway() {
    let (bus, stock) = (TestBus::new("shop").await, Stock::default());
    let shipping = bus.with(stock.clone());
    shipping.on(async |stock: Stock, order: Delivery<OrderPlaced>| {
        stock.note("reserved", order.order_id); // noting it twice is noting it once
        assert!(order.attempt() > 1, "the power went out");
        stock.note("shipped", order.order_id);
    });
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;
    assert_eq!(stock.notes(), [("reserved", 1), ("shipped", 1)]);
}

#[tokio::test]
async fn bytes_that_do_not_decode() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    let broken = raw("order.placed").key("1").body("{oops");
    bus.inject(broken).await.unwrap();
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;
    let dead = &bus.dead_letters("shop").await[0];
    assert_eq!((dead.reason(), dead.bytes()), ("not_json", "{oops".into()));
    assert_eq!(bus.handled::<OrderPlaced>()[1].fate, Fate::Completed);
}

#[tokio::test]
async fn a_duplicate() {
    let bus = TestBus::new("shop").await;
    bus.on(async |_: OrderPlaced| ());
    bus.emit(order(1)).id("checkout-7").await.unwrap();
    bus.emit(order(1)).id("checkout-7").await.unwrap();
    bus.settled().await;
    let handled = bus.handled::<OrderPlaced>();
    assert_eq!(handled[0].fate, Fate::Completed);
    assert_eq!(handled[1].fate, Fate::Duplicate);
}

#[tokio::test]
async fn dead_letters_filling_up() {
    let small = TestBus::builder("shop").memory(|memory| memory.dead_letters(3));
    let bus = small.build().await.unwrap();
    bus.on(async |_: OrderPlaced| Err(permanent("no such product")));
    bus.emit_all((1..=5).map(order)).await;
    bus.advance(Duration::from_secs(3_600)).await;
    assert_eq!(bus.handled::<OrderPlaced>().len(), 3); // the other two wait: nothing is lost
    assert_eq!(bus.take_dead_letters("shop").await.len(), 3);
    bus.settled().await;
    assert_eq!(bus.dead_letters("shop").await.len(), 2);
}

#[derive(Clone, Default)]
struct Stock(Arc<Mutex<BTreeSet<(&'static str, u32)>>>);

impl Stock {
    fn note(&self, what: &'static str, order_id: u32) {
        self.0.lock().unwrap().insert((what, order_id));
    }

    fn notes(&self) -> Vec<(&'static str, u32)> {
        self.0.lock().unwrap().iter().copied().collect()
    }
}

/// What the first line of this file promises.
#[test]
fn none_takes_more_than_ten_lines() {
    let cases = include_str!("good_practice.rs")
        .split("#[tokio::test]\n")
        .skip(1);
    let bodies: Vec<usize> = cases
        .map(|case| case.lines().skip(1).take_while(|&line| line != "}").count())
        .collect();
    assert_eq!(bodies.len(), 5);
    assert!(bodies.iter().all(|&lines| lines <= 10), "{bodies:?}");
}
