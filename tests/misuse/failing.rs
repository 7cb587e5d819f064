//! Rows 67, 70: handlers and events that break, in every way that can be caught (contracts R3, M2).

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::Name;
use tidings::{Bus, Delivery, Event, permanent};
use tokio::sync::mpsc;

use crate::kit::{
    Calls, Order, SERVICE, assert_conserved, dead, order, quick, settled, shop, shop_with, stats,
};

/// Runs a handler that breaks on `ord-1` and expects: dead-lettered for `reason` after three
/// attempts, the next of its key and the next of another key handled.
async fn breaks(register: impl FnOnce(&Bus, Calls), reason: &str, says: &str) {
    let (_, bus) = shop().await;
    let calls = Calls::default();
    register(&bus, calls.clone());
    bus.emit(order(1)).await.unwrap();
    bus.emit(order(2)).key("ord-1").await.unwrap();
    bus.emit(order(3)).await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(letters.len(), 1, "{reason}");
    assert_eq!((letters[0].reason(), letters[0].attempts()), (reason, 3));
    assert!(letters[0].error().contains(says), "{}", letters[0].error());
    assert_eq!(letters[0].bytes(), r#"{"order":"ord-1","cents":100}"#);
    assert_eq!(
        (calls.count(), stats(&bus).completed),
        (2, 2),
        "the others are handled"
    );
    assert_conserved(&bus, 3);
    bus.shutdown().await.unwrap();
}

fn is_bad(order: &Order) -> bool {
    order.order == "ord-1"
}

#[tokio::test(start_paused = true)]
async fn row_67_an_error_is_retried_then_dead_lettered() {
    let fails = async |calls: Calls, order: Order| {
        if is_bad(&order) {
            return Err("declined");
        }
        calls.one();
        Ok(())
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(fails)),
        "exhausted",
        "declined",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_is_a_failed_attempt() {
    let panics = async |calls: Calls, order: Order| {
        assert!(!is_bad(&order), "{} is bad", order.order);
        calls.one();
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        "ord-1 is bad",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_after_an_await_is_a_failed_attempt() {
    let panics = async |calls: Calls, order: Order| {
        tokio::task::yield_now().await;
        assert!(!is_bad(&order), "late");
        calls.one();
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        "late",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_before_the_future_exists_is_a_failed_attempt() {
    let panics = |calls: Calls, order: Order| {
        assert!(!is_bad(&order), "early");
        async move { calls.one() }
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        "early",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_without_text_is_a_failed_attempt() {
    let panics = async |calls: Calls, order: Order| {
        if is_bad(&order) {
            std::panic::panic_any(vec![7_u8; 3]);
        }
        calls.one();
    };
    let says = "payload is no text";
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        says,
    )
    .await;
}

/// Panics when it is dropped, unless it is disarmed.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "boom");
    }
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_payload_that_panics_when_dropped_is_a_failed_attempt() {
    let panics = async |calls: Calls, order: Order| {
        if is_bad(&order) {
            std::panic::panic_any(Bomb(true));
        }
        calls.one();
    };
    let says = "payload is no text";
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        says,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn row_67_a_panic_while_the_handler_s_future_is_dropped_is_a_failed_attempt() {
    let panics = async |calls: Calls, order: Order| {
        let _bomb = Bomb(is_bad(&order));
        tokio::task::yield_now().await;
        if !is_bad(&order) {
            calls.one();
        }
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(panics)),
        "panicked",
        "boom",
    )
    .await;
}

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("not to be shown")
    }
}

impl Error for Unspeakable {}

#[tokio::test(start_paused = true)]
async fn row_67_an_error_whose_display_panics_is_a_failed_attempt() {
    let fails = async |calls: Calls, order: Order| {
        if is_bad(&order) {
            return Err(Unspeakable);
        }
        calls.one();
        Ok(())
    };
    let says = "display panicked";
    breaks(
        |bus, calls| drop(bus.with(calls).on(fails)),
        "exhausted",
        says,
    )
    .await;
}

#[derive(Debug)]
struct Heavy;

impl fmt::Display for Heavy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("heavy")
    }
}

impl Error for Heavy {}

impl Drop for Heavy {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking(),
            "an error that panics when it is dropped"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn row_67_an_error_that_panics_when_dropped_is_a_failed_attempt() {
    let fails = async |calls: Calls, order: Order| {
        if is_bad(&order) {
            return Err(Heavy);
        }
        calls.one();
        Ok(())
    };
    breaks(
        |bus, calls| drop(bus.with(calls).on(fails)),
        "exhausted",
        "heavy",
    )
    .await;
}

/// An event whose drop code panics, once it is armed by its number.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(name = "mine.laid", version = 1, key = key)]
struct Mine {
    key: String,
    armed: bool,
}

impl Clone for Mine {
    fn clone(&self) -> Self {
        // Copies do no harm.
        Self {
            key: self.key.clone(),
            armed: false,
        }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        assert!(!self.armed || std::thread::panicking(), "a mine went off");
    }
}

/// The attempt was done before the event was dropped: it is completed, once, and its key goes on.
#[tokio::test(start_paused = true)]
async fn row_67_an_event_that_panics_when_dropped_is_settled_once() {
    for encoded in [false, true] {
        let (_, bus) = shop_with(Memory::new().encoded(encoded), |bus| bus).await;
        let calls = Calls::default();
        bus.with(calls.clone())
            .on(async |calls: Calls, _: Mine| calls.one());
        for armed in [true, false, true] {
            let mine = Mine {
                key: "one".into(),
                armed,
            };
            let emitted = std::panic::AssertUnwindSafe(bus.emit(mine).into_future());
            // Encoded, the emitter's own value is dropped inside the emit: its panic is the emitter's.
            let _ = futures::FutureExt::catch_unwind(emitted).await;
        }
        settled(&bus).await;
        assert_eq!(calls.count(), 3, "encoded: {encoded}");
        assert_conserved(&bus, 3);
        bus.shutdown().await.unwrap();
    }
}

/// Shared by two handlers, of which one fails: only it is dead-lettered.
#[tokio::test(start_paused = true)]
async fn row_67_a_handler_that_breaks_harms_no_neighbour() {
    let (_, bus) = shop().await;
    let calls = Calls::default();
    bus.with(calls.clone())
        .named("sound")
        .on(async |calls: Calls, _: Arc<Order>| calls.one());
    bus.named("broken")
        .on(async |_: Arc<Order>| panic!("broken"));
    for number in 0..10 {
        bus.emit(order(number)).await.unwrap();
    }
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!((calls.count(), letters.len()), (10, 10));
    assert!(letters.iter().all(|letter| letter.handler() == "broken"));
    let stats = stats(&bus);
    assert_eq!(
        (stats.completed, stats.dead_lettered, stats.unsettled),
        (10, 10, 0)
    );
}

#[tokio::test]
async fn row_67_a_permanent_error_is_dead_lettered_at_once() {
    let (_, bus) = shop().await;
    bus.on(async |_: Order| Err::<(), _>(permanent("never")));
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(
        (
            letters[0].reason(),
            letters[0].attempts(),
            letters[0].error()
        ),
        ("permanent", 1, "never")
    );
    assert_conserved(&bus, 1);
}

/// What a process that dies takes with it is the transport's to bring back; in memory all of it
/// is gone. What the bus owes: each delivery that comes back costs an attempt, so a crash loop ends.
#[tokio::test(start_paused = true)]
async fn row_70_deliveries_that_come_back_use_up_the_attempts() {
    let memory = Memory::new();
    let group = Name::from_static(SERVICE);
    // A consumer that "crashes" three times with the event in its hands.
    crash(&memory, 3).await;
    let (memory, bus) = shop_with(memory, |bus| bus.retry(quick().attempts(5))).await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.attempt()).await.unwrap();
            Err::<(), _>("declined")
        });
    settled(&bus).await;
    let mut attempts = Vec::new();
    while let Ok(attempt) = seen.try_recv() {
        attempts.push(attempt);
    }
    assert_eq!(
        attempts,
        [4, 5],
        "three of five were used up by the crashes"
    );
    let letters = dead(&bus).await;
    assert_eq!(
        (letters.len(), letters[0].reason(), letters[0].attempts()),
        (1, "exhausted", 5)
    );
    let lag = tidings::transport::Transport::lag(&memory, &group)
        .await
        .unwrap();
    assert_eq!(lag[0].behind(), 0);
    assert_conserved(&bus, 1);
}

/// More crashes than attempts: it is tried once more, and given up then.
#[tokio::test(start_paused = true)]
async fn row_70_after_more_crashes_than_attempts_one_is_left() {
    let memory = Memory::new();
    crash(&memory, 40).await;
    let (_, bus) = shop_with(memory, |bus| bus.retry(quick().attempts(5))).await;
    let calls = Calls::default();
    bus.with(calls.clone()).on(async |calls: Calls, _: Order| {
        calls.one();
        Err::<(), _>("declined")
    });
    settled(&bus).await;
    assert_eq!((calls.count(), dead(&bus).await.len()), (1, 1));
    assert_conserved(&bus, 1);
}

/// Nothing that comes back for ever is delivered for ever.
#[tokio::test]
async fn row_70_a_crash_loop_ends_in_the_dead_letters() {
    let memory = Memory::new();
    crash(&memory, 105).await;
    let (_, bus) = shop_with(memory, |bus| bus.retry(quick().attempts(5))).await;
    let calls = crate::kit::counting(&bus);
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!((calls.count(), letters.len()), (0, 1));
    assert_eq!(
        (letters[0].reason(), letters[0].attempts()),
        ("crash_loop", 106)
    );
    assert!(
        letters[0].error().contains("the limit is 105"),
        "{}",
        letters[0].error()
    );
    assert_eq!(letters[0].bytes(), r#"{"order":"ord-1","cents":100}"#);
    assert_conserved(&bus, 1);
}

/// Publishes one order and takes it `times` times without settling it.
async fn crash(memory: &Memory, times: usize) {
    use tidings::transport::{
        Batch, Consumer, GroupTopology, Mode, Start, Subscribe, Topics, Transport,
    };
    let topics = Topics::exact([Order::NAME]);
    let topology = GroupTopology {
        name: Name::from_static(SERVICE),
        topics: topics.clone(),
        ordered: true,
        start: Start::Earliest,
        dead_letters: Some(Name::from(format!("{SERVICE}.dead"))),
        queue: None,
    };
    memory.attach(&topology).unwrap();
    let mut message = crate::kit::message();
    message.key = Some(Bytes::from_static(b"ord-1"));
    crate::kit::put(memory, message).await;
    for attempt in 1..=times {
        let subscribe = Subscribe {
            group: topology.name.clone(),
            topics: topics.clone(),
            start: Start::Earliest,
            mode: Mode::AtLeastOnce,
            window: 8,
            ordered: true,
        };
        let mut consumer = memory.subscribe(subscribe).await.unwrap();
        let mut batch = Batch::default();
        consumer.receive(8, &mut batch).await.unwrap();
        let attempts = batch
            .drain()
            .map(|received| received.origination.attempt as usize);
        assert_eq!(attempts.collect::<Vec<_>>(), [attempt]);
        drop(consumer);
    }
}
