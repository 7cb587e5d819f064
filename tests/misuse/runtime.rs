//! Rows 33, 39: no runtime, another runtime, clocks that are wrong.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidings::memory::Memory;
use tidings::transport::Timestamp;
use tidings::{Bus, Clock, Delivery, SystemClock};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::kit::{
    Order, SERVICE, assert_conserved, counting, dead, fields_with, order, put, quick, raw, settled,
    shop_with, within,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Polls once, without a runtime.
fn poll_now<F: IntoFuture>(future: F) -> Option<F::Output> {
    let mut future = pin!(future.into_future());
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn row_33_without_a_runtime_build_is_an_error_that_names_the_fix() {
    let error = poll_now(Bus::builder("shop").build())
        .expect("no wait")
        .unwrap_err();
    assert_eq!(error.problems().len(), 1);
    assert!(
        error.problems()[0].contains("no tokio runtime here"),
        "{error}"
    );
    assert!(
        error.problems()[0].contains("#[tokio::main]"),
        "the fix: {error}"
    );
}

#[tokio::test]
async fn row_33_starting_twice_is_harmless() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = counting(&bus);
    bus.start().await.unwrap();
    bus.start().await.unwrap();
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    assert_eq!(calls.count(), 1, "not twice");
    assert_conserved(&bus, 1);
}

/// Handlers stay where the bus was built; emits come from anywhere.
#[test]
fn row_33_emits_from_another_runtime_are_handled_on_the_bus_s_own() {
    let home = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (handled, mut seen) = mpsc::channel(8);
    let bus = home.block_on(async {
        let bus = Bus::builder("shop").build().await.unwrap();
        bus.with(handled)
            .on(async |handled: mpsc::Sender<_>, order: Order| {
                handled
                    .send((order, std::thread::current().id()))
                    .await
                    .unwrap();
            });
        bus
    });
    let other = runtime();
    other.block_on(async {
        bus.emit(order(1)).await.unwrap();
        let (order, thread) = within(seen.recv()).await.unwrap();
        assert_eq!(order.order, "ord-1");
        assert_ne!(thread, std::thread::current().id());
        settled(&bus).await;
    });
    assert_conserved(&bus, 1);
    other.block_on(bus.shutdown()).unwrap();
}

#[test]
fn row_33_a_bus_whose_runtime_is_gone_refuses_emits_instead_of_hoarding_them() {
    let home = runtime();
    let (bus, calls) = home.block_on(async {
        let bus = Bus::builder("shop").build().await.unwrap();
        let calls = counting(&bus);
        bus.emit(order(1)).await.unwrap();
        settled(&bus).await;
        (bus, calls)
    });
    drop(home);
    let error = bus.try_emit(order(2)).unwrap_err();
    assert!(error.is_closed() && error.is_not_published(), "{error:?}");
    assert_eq!(error.into_event().unwrap(), order(2), "handed back");
    let other = runtime();
    let error = other
        .block_on(async { within(bus.emit(order(3))).await })
        .unwrap_err();
    assert!(error.is_closed(), "{error:?}");
    // And neither of these hangs or panics.
    let _ = other.block_on(async { within(bus.shutdown()).await });
    assert_eq!(calls.count(), 1);
    assert_conserved(&bus, 1);
}

#[test]
fn row_33_waiting_for_room_without_a_runtime_is_an_error() {
    let home = runtime();
    let bus = home.block_on(async {
        let bus = Bus::builder("shop").queue(1).build().await.unwrap();
        bus.group("slow")
            .window(1)
            .on(async |_: Order| std::future::pending::<()>().await);
        bus
    });
    // Nobody drives the runtime now: the queue takes one, the next would wait.
    poll_now(bus.emit(order(1))).expect("no wait").unwrap();
    let error = poll_now(bus.emit(order(2))).expect("no wait").unwrap_err();
    assert!(error.is_not_published(), "{error:?}");
    assert!(
        format!("{:?}", error.reason()).contains("needs a tokio runtime"),
        "{error:?}"
    );
    assert_eq!(error.event().order, "ord-2");
}

#[derive(Debug)]
struct HoursAhead(u64);

impl Clock for HoursAhead {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .saturating_add(Duration::from_secs(3_600 * self.0))
    }
}

/// Collects what a handler saw as the event's time.
fn times(bus: &Bus) -> mpsc::Receiver<Option<Timestamp>> {
    let (send, times) = mpsc::channel(64);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.time()).await.unwrap();
        });
    times
}

#[tokio::test]
async fn row_39_a_producer_hours_ahead_is_believed_and_delays_nothing() {
    let clock = HoursAhead(30);
    let ahead = clock.now();
    let (_, bus) = shop_with(Memory::new(), |bus| bus.clock(clock)).await;
    let mut times = times(&bus);
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    let time = within(times.recv()).await.unwrap().unwrap();
    assert!(
        time >= Timestamp::from_micros(ahead.as_micros() / 1_000 * 1_000),
        "{time}"
    );
    assert_conserved(&bus, 1);
}

/// The event keeps its own time; the dead letter is stamped by our clock.
#[tokio::test]
async fn row_39_a_foreign_time_hours_ahead_is_kept_and_failure_times_are_ours() {
    let memory = Memory::new();
    let (memory, bus) = shop_with(memory, |bus| bus.retry(quick().attempts(1))).await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.time()).await.unwrap();
            Err::<(), _>("declined")
        });
    let ahead = HoursAhead(5).now();
    let body = r#"{"order":"ord-1","cents":1}"#;
    put(&memory, raw(fields_with("time", ahead.to_string()), body)).await;
    settled(&bus).await;
    assert_eq!(within(seen.recv()).await.unwrap(), Some(ahead));
    let letters = dead(&bus).await;
    let failed = letters[0].last_failure().unwrap();
    assert!(failed < ahead && failed <= SystemClock.now(), "{failed}");
    assert_eq!(
        letters[0].fields().get_str("time"),
        Some(&*ahead.to_string())
    );
    assert_eq!(letters[0].group(), SERVICE);
    assert_conserved(&bus, 1);
}

#[derive(Debug)]
struct Stuck(i64);

impl Clock for Stuck {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0)
    }
}

/// Ids, times and backoffs survive a wall clock at either end of time.
#[tokio::test(start_paused = true)]
async fn row_65_a_wall_clock_at_the_ends_of_time_overflows_nothing() {
    for micros in [i64::MIN, -1, 0, 253_402_300_800_000_000, i64::MAX] {
        let (_, bus) = shop_with(Memory::new(), |bus| bus.clock(Stuck(micros))).await;
        bus.on(async |order: Delivery<Order>| {
            let _ = order.time();
            if order.order == "ord-2" {
                Err("declined")
            } else {
                Ok(())
            }
        });
        for number in 1..=3 {
            bus.emit(order(number)).await.unwrap();
        }
        settled(&bus).await;
        let letters = dead(&bus).await;
        assert_eq!(letters.len(), 1, "{micros}");
        assert_eq!(letters[0].reason(), "exhausted");
        assert_conserved(&bus, 3);
    }
}
