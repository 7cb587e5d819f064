//! Ending a registration.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures::FutureExt;
use tidings::memory::Memory;
use tidings::transport::{Carried, Headers, Message, Name, Origin, Payload, Transport, field};
use tidings::{Bus, Event, PausePolicy, RetryPolicy, Subscription};
use tokio::sync::{Semaphore, mpsc as channel};
use tokio::time::Instant;

use crate::capture::Capture;
use crate::kit::{Log, Ping, Pong, bus, until, waits};

/// A handler that says when it began and ends when it may.
#[derive(Clone)]
struct Held {
    log: Log,
    began: channel::UnboundedSender<u32>,
    may_end: Arc<Semaphore>,
}

impl Held {
    fn new() -> (Self, channel::UnboundedReceiver<u32>) {
        let (began, has_begun) = channel::unbounded_channel();
        (
            Self {
                log: Log::default(),
                began,
                may_end: Arc::new(Semaphore::new(0)),
            },
            has_begun,
        )
    }

    async fn handle(self, ping: Ping) {
        self.began.send(ping.0).unwrap();
        self.may_end.acquire().await.unwrap().forget();
        self.log.add(format!("ended {}", ping.0));
    }
}

async fn off_waits() {
    let bus = bus().await;
    let (held, mut has_begun) = Held::new();
    let subscription = bus.with(held.clone()).on(Held::handle);
    for number in 0..3 {
        bus.emit(Ping(number)).await.unwrap();
        has_begun.recv().await.unwrap();
    }
    let mut off = pin!(subscription.off());
    for _ in 0..3 {
        assert!(waits(off.as_mut()).await, "three calls are in flight");
        held.may_end.add_permits(1);
        until(|| held.may_end.available_permits() == 0).await;
    }
    off.await.unwrap();
    let mut ended = held.log.take();
    // On several threads they may end in any order.
    ended.sort();
    assert_eq!(ended, ["ended 0", "ended 1", "ended 2"]);
    assert!(!bus.has_handlers::<Ping>());
    bus.emit(Ping(3)).await.unwrap();
    bus.settled().await.unwrap();
    assert!(has_begun.try_recv().is_err());
}

#[tokio::test]
async fn off_waits_for_handlers_in_flight() {
    off_waits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn off_waits_for_handlers_in_flight_on_other_threads() {
    off_waits().await;
}

#[tokio::test]
async fn no_call_begins_after_off_though_it_waited_for_a_slot() {
    let bus = bus().await;
    let (held, mut has_begun) = Held::new();
    let group = bus.group("narrow").concurrency(1);
    let subscription = group.with(held.clone()).on(Held::handle);
    for number in 0..4 {
        bus.emit(Ping(number)).await.unwrap();
    }
    assert_eq!(has_begun.recv().await, Some(0));
    let mut off = pin!(subscription.off());
    assert!(waits(off.as_mut()).await);
    held.may_end.add_permits(4);
    off.await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(held.log.take(), ["ended 0"]);
    let stats = group.stats().unwrap();
    assert_eq!(
        (stats.completed, stats.skipped),
        (1, 3),
        "skipped and counted, not lost"
    );
}

#[tokio::test(start_paused = true)]
async fn off_ends_a_backoff_and_no_further_attempt_begins() {
    let bus = bus().await;
    let (began, mut has_begun) = channel::unbounded_channel();
    let minute = Duration::from_secs(60);
    let group = bus.group("g").retry(
        RetryPolicy::exponential()
            .attempts(3)
            .base(minute)
            .cap(minute),
    );
    let subscription =
        group
            .with(began)
            .on(async |began: channel::UnboundedSender<()>, _: Ping| {
                began.send(()).unwrap();
                Err(std::io::Error::other("again, please"))
            });
    let before = Instant::now();
    bus.emit(Ping(1)).await.unwrap();
    has_begun.recv().await.unwrap();
    subscription.off().await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(Instant::now(), before, "nothing waited for the backoff");
    assert!(has_begun.try_recv().is_err(), "one attempt, no more");
    assert_eq!(group.stats().unwrap().skipped, 1);
    assert!(bus.dead_letters("g").list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn off_ends_the_wait_at_a_paused_group() {
    let (capture, _guard) = Capture::start();
    let bus = bus().await;
    let log = Log::default();
    let pause = PausePolicy::default().finals(2);
    let group = bus.group("g").retry(RetryPolicy::none()).pause(pause);
    let subscription = group.with(log.clone()).on(async |log: Log, ping: Ping| {
        log.add(format!("called {}", ping.0));
        Err(std::io::Error::other("all of them fail"))
    });
    for number in 0..5 {
        bus.emit(Ping(number)).await.unwrap();
    }
    let before = Instant::now();
    until(|| !capture.lines("paused").is_empty()).await;
    subscription.off().await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(Instant::now(), before, "nothing waited for a probe");
    assert_eq!(log.take(), ["called 0", "called 1"]);
    let stats = group.stats().unwrap();
    assert_eq!((stats.dead_lettered, stats.skipped), (1, 4));
}

#[tokio::test]
async fn what_cannot_be_decoded_is_no_dead_letter_of_a_handler_that_is_gone() {
    let memory = Memory::new();
    let bus = Bus::builder("svc")
        .transport(memory.clone())
        .build()
        .await
        .unwrap();
    let (held, mut has_begun) = Held::new();
    let group = bus.group("narrow").concurrency(1);
    let subscription = group.with(held.clone()).on(Held::handle);
    bus.emit(Ping(0)).await.unwrap();
    let mut fields = Headers::new();
    fields.push(field::TYPE, Ping::NAME);
    let broken = Message {
        topic: Name::from_static(Ping::NAME),
        key: None,
        envelope: Carried::Raw(fields),
        headers: Headers::new(),
        payload: Payload::Bytes("no ping".into()),
        delay: None,
    };
    memory.publish(broken, Origin::default()).await.unwrap();
    assert_eq!(has_begun.recv().await, Some(0));
    let mut off = pin!(subscription.off());
    assert!(waits(off.as_mut()).await);
    held.may_end.add_permits(1);
    off.await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(group.stats().unwrap().skipped, 1);
    assert!(bus.dead_letters("narrow").list().await.unwrap().is_empty());
}

/// The other's retry needs the only slot, which the handler that calls `off` holds.
#[tokio::test(start_paused = true)]
async fn off_inside_another_handler_waits_for_no_slot_of_its_own() {
    let bus = bus().await;
    let log = Log::default();
    let fails: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let second = Duration::from_secs(1);
    let group = bus
        .group("g")
        .concurrency(1)
        .retry(RetryPolicy::exponential().base(second));
    let failing = group
        .named("fails")
        .on(async |_: Ping| Err(std::io::Error::other("again")));
    *fails.lock().unwrap() = Some(failing);
    let state = (Arc::clone(&fails), log.clone());
    group.with(state).on(
        async |(fails, log): (Arc<Mutex<Option<Subscription>>>, Log), _: Pong| {
            // By then the retry is due and wants the slot.
            tokio::time::sleep(Duration::from_secs(5)).await;
            let failing = fails.lock().unwrap().take().unwrap();
            log.add(format!("{:?}", failing.off().await));
        },
    );
    bus.emit(Ping(1)).await.unwrap();
    bus.emit(Pong(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["Ok(())"]);
}

#[tokio::test]
async fn a_listener_call_running_on_another_thread_may_end_after_off() {
    let bus = bus().await;
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let subscription = bus.listen(move |_: &Ping| {
        began.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
        end.store(true, Ordering::SeqCst);
    });
    let other = bus.clone();
    let emits = std::thread::spawn(move || other.try_emit(Ping(1)).unwrap());
    has_begun.recv().unwrap();
    subscription.off().await.unwrap();
    assert!(
        !ended.load(Ordering::SeqCst),
        "off does not wait for another thread's emit"
    );
    go_on.send(()).unwrap();
    emits.join().unwrap();
    assert!(ended.load(Ordering::SeqCst));
    bus.try_emit(Ping(2)).unwrap();
    assert!(has_begun.try_recv().is_err());
}

/// One of each kind.
fn register(bus: &Bus, log: &Log) -> [Subscription; 4] {
    let [listens, taps, once] = [log.clone(), log.clone(), log.clone()];
    [
        bus.with(log.clone())
            .on(async |log: Log, _: Ping| log.add("handler")),
        bus.listen(move |_: &Ping| listens.add("listener")),
        bus.on_any(move |_| taps.add("tap")),
        bus.many(9, move |_: &Ping| once.add("many")),
    ]
}

#[tokio::test]
async fn dropping_the_guard_detaches_nothing_unless_asked() {
    let bus = bus().await;
    let log = Log::default();
    drop(register(&bus, &log));
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["listener", "tap", "many", "handler"]);
}

#[tokio::test]
async fn dropping_the_guard_detaches_if_asked() {
    let bus = bus().await;
    let log = Log::default();
    let guards = register(&bus, &log).map(Subscription::off_on_drop);
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["listener", "tap", "many", "handler"]);
    drop(guards);
    assert!(!bus.has_handlers::<Ping>());
    bus.emit(Ping(2)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test]
async fn off_ends_the_registration_at_its_first_poll() {
    let bus = bus().await;
    let log = Log::default();
    for subscription in register(&bus, &log) {
        assert!(
            subscription
                .off()
                .now_or_never()
                .is_none_or(|ended| ended.is_ok())
        );
    }
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), [""; 0]);
}
