//! Order, isolation and the snapshot.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::panic::panic_any;
use std::sync::{Arc, Mutex, mpsc};

use futures::FutureExt;
use tidings::{Bus, Subscription};

use crate::capture::Capture;
use crate::kit::{Log, Ping, bus};

#[tokio::test]
async fn listeners_run_inline_in_registration_order() {
    let bus = bus().await;
    let log = Log::default();
    let here = std::thread::current().id();
    let note = |name: &'static str| {
        let log = log.clone();
        move || {
            assert_eq!(
                std::thread::current().id(),
                here,
                "inline is on the emitter's thread"
            );
            log.add(name);
        }
    };
    let (first, second, third) = (note("listen"), note("tap"), note("many"));
    let (fourth, fifth, sixth) = (note("once"), note("late tap"), note("late listen"));
    bus.listen(move |_: &Ping| first());
    bus.on_any(move |_| second());
    bus.many(2, move |_: &Ping| third());
    bus.once(move |_: &Ping| fourth());
    bus.on_any(move |_| fifth());
    bus.listen(move |_: &Ping| sixth());

    // No await, so nothing but the call itself can have run them.
    bus.try_emit(Ping(1)).unwrap();
    assert_eq!(
        log.take(),
        ["listen", "tap", "many", "once", "late tap", "late listen"]
    );
    bus.publisher().try_emit(Ping(2)).unwrap();
    assert_eq!(
        log.take(),
        ["listen", "tap", "many", "late tap", "late listen"]
    );
    bus.emit(Ping(3)).await.unwrap();
    assert_eq!(log.take(), ["listen", "tap", "late tap", "late listen"]);
}

/// The same with a handler behind the queue, where the emit takes the longer way.
#[tokio::test]
async fn listeners_run_inline_in_registration_order_beside_handlers() {
    let bus = bus().await;
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log, _: Ping| log.add("handler"));
    for name in ["a", "b", "c"] {
        let log = log.clone();
        bus.listen(move |_: &Ping| log.add(name));
    }
    bus.try_emit(Ping(1)).unwrap();
    assert_eq!(log.take(), ["a", "b", "c"]);
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["handler"]);
}

#[tokio::test]
async fn listeners_run_in_registration_order_on_every_thread_at_once() {
    thread_local!(static ORDER: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    let bus = bus().await;
    for number in 0..5 {
        let note = move || ORDER.with_borrow_mut(|order| order.push(number));
        if number % 2 == 0 {
            bus.listen(move |_: &Ping| note());
        } else {
            bus.on_any(move |_| note());
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..500 {
                    bus.try_emit(Ping(number)).unwrap();
                    assert_eq!(ORDER.take(), [0, 1, 2, 3, 4]);
                }
            });
        }
    });
}

#[tokio::test]
async fn an_error_or_panic_in_one_never_reaches_the_emitter_or_its_neighbours() {
    let (capture, _guard) = Capture::start();
    let bus = bus().await;
    let log = Log::default();
    let [first, last] = [log.clone(), log.clone()];
    bus.listen(move |_: &Ping| first.add("first"));
    bus.listen(|_: &Ping| Err::<(), _>(std::io::Error::other("listener's error")));
    bus.listen(|_: &Ping| panic!("listener's panic"));
    bus.listen(|_: &Ping| panic_any(PanicsAgain));
    bus.on_any(|_| panic!("tap's panic"));
    let _never = bus.wait_for(|_: &Ping| panic!("predicate's panic"));
    bus.listen(move |_: &Ping| last.add("last"));

    for round in 0..2 {
        bus.emit(Ping(round)).await.unwrap();
        bus.try_emit(Ping(round)).unwrap();
        assert_eq!(log.take(), ["first", "last", "first", "last"]);
    }
    let lines = capture.lines("listener failed");
    assert_eq!(lines.len(), 5 * 4, "every failure is logged");
    for (line, error) in lines.iter().zip(["listener's error", "listener's panic"]) {
        assert!(line.field("error").contains(error), "{line:?}");
        assert!(line.field("listener").contains("listeners.rs"), "{line:?}");
        assert_eq!(line.field("event"), "emitter.ping");
    }
}

/// A panic's payload that panics when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("panics again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handlers_failure_reaches_neither_the_emitter_nor_its_neighbours() {
    let bus = bus().await;
    let log = Log::default();
    bus.named("panics")
        .on(async |_: Ping| panic!("handler's panic"));
    bus.named("neighbour")
        .with(log.clone())
        .on(async |log: Log, _: Ping| log.add("neighbour"));
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        ["neighbour"],
        "once: the other's retries are its own"
    );
    let dead = bus.dead_letters("svc").list().await.unwrap();
    assert_eq!(
        dead.iter()
            .map(|letter| letter.handler())
            .collect::<Vec<_>>(),
        ["panics"]
    );
}

#[tokio::test]
async fn the_listener_set_is_a_snapshot_at_emit() {
    let bus = bus().await;
    let log = Log::default();
    let outer = log.clone();
    let weak = bus.clone();
    bus.once(move |ping: &Ping| {
        outer.add(format!("first {}", ping.0));
        let inner = outer.clone();
        weak.listen(move |ping: &Ping| inner.add(format!("added meanwhile {}", ping.0)));
    });
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), ["first 1"]);
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), ["added meanwhile 2"]);
}

#[tokio::test]
async fn one_removed_before_its_turn_is_skipped() {
    let bus = bus().await;
    let log = Log::default();
    let later: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let (remove, first) = (Arc::clone(&later), log.clone());
    bus.listen(move |_: &Ping| {
        first.add("first");
        for subscription in std::mem::take(&mut *remove.lock().unwrap()) {
            subscription.off().now_or_never().unwrap().unwrap();
        }
    });
    let [listens, taps, limited] = [log.clone(), log.clone(), log.clone()];
    let removed = [
        bus.once(move |_: &Ping| limited.add("removed once")),
        bus.listen(move |_: &Ping| listens.add("removed listener")),
        bus.on_any(move |_| taps.add("removed tap")),
    ];
    later.lock().unwrap().extend(removed);
    let last = log.clone();
    bus.listen(move |_: &Ping| last.add("last"));
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), ["first", "last"]);
}

#[tokio::test]
async fn one_removed_by_another_thread_before_its_turn_is_skipped() {
    let bus = bus().await;
    let log = Log::default();
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    bus.listen(move |_: &Ping| {
        began.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
    });
    let heard = log.clone();
    let second = bus.listen(move |_: &Ping| heard.add("second"));
    let emits = {
        let bus = bus.clone();
        std::thread::spawn(move || bus.try_emit(Ping(1)).unwrap())
    };
    has_begun.recv().unwrap();
    second.off().await.unwrap();
    go_on.send(()).unwrap();
    emits.join().unwrap();
    assert_eq!(log.take(), [""; 0]);
}

/// House rule 16. Nothing that was removed is called; it only lives that much longer.
#[tokio::test]
async fn a_snapshot_may_outlive_an_unsubscribe_by_one_emit() {
    let bus = bus().await;
    let orders = bus.publisher::<Ping>();
    let held = Arc::new(Log::default());
    let alive = Arc::downgrade(&held);
    let subscription = bus.listen(move |ping: &Ping| held.add(ping.0.to_string()));
    orders.try_emit(Ping(1)).unwrap();
    subscription.off().await.unwrap();
    let log = alive
        .upgrade()
        .expect("the publisher's snapshot still holds the listener");
    assert_eq!(log.take(), ["1"]);
    drop(log);
    orders.try_emit(Ping(2)).unwrap();
    assert_eq!(
        alive.upgrade().map(|log| log.take()),
        None,
        "gone with the next emit"
    );
}

/// A listener's own drop code runs outside of every lock of the bus.
#[tokio::test]
async fn a_listener_that_owns_another_ones_guard_takes_it_along() {
    let bus = bus().await;
    let log = Log::default();
    let removes = |bus: &Bus, log: &Log| {
        let inner = log.clone();
        bus.listen(move |_: &Ping| inner.add("owned")).off_on_drop()
    };
    let (owned, also_owned) = (removes(&bus, &log), removes(&bus, &log));
    let owner = bus.listen(move |_: &Ping| assert!(owned.is_accepted()));
    let tap_owner = bus.on_any(move |_| assert!(also_owned.is_accepted()));
    owner.off().await.unwrap();
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), ["owned"]);
    tap_owner.off().await.unwrap();
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), [""; 0]);
}
