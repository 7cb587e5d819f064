//! Rows 68, 69, 71, 72: handlers that never end, block, or feed themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{
    Batch, Consumer, GroupTopology, Mode, Name, Received, Start, Subscribe, Topics, Transport,
};
use tidings::{Bus, Delivery, Event};
use tokio::sync::mpsc;

use crate::kit::{
    Calls, Logs, Order, SERVICE, assert_conserved, counting, dead, message, order, put, quick,
    settled, shop, shop_with, within,
};

#[tokio::test(start_paused = true)]
async fn row_68_a_handler_that_never_returns_is_cancelled_at_its_deadline() {
    let (_, bus) = shop_with(Memory::new(), |bus| bus.deadline(Duration::from_secs(7))).await;
    let (calls, dropped) = (Calls::default(), Calls::default());
    struct OnDrop(Calls);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.one();
        }
    }
    bus.with((calls.clone(), dropped.clone())).on(
        async |(calls, dropped): (Calls, Calls), order: Order| {
            if order.order == "ord-1" {
                let _dropped = OnDrop(dropped);
                std::future::pending::<()>().await;
            }
            calls.one();
        },
    );
    let started = tokio::time::Instant::now();
    bus.emit(order(1)).await.unwrap();
    bus.emit(order(2)).key("ord-1").await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(
        (letters[0].reason(), letters[0].attempts()),
        ("timed_out", 3)
    );
    assert!(
        letters[0].error().contains("deadline of 7s"),
        "{}",
        letters[0].error()
    );
    assert_eq!(
        (dropped.count(), calls.count()),
        (3, 1),
        "each future is dropped, the key goes on"
    );
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(21)..Duration::from_secs(22)).contains(&took),
        "{took:?}"
    );
    assert_conserved(&bus, 2);
    bus.shutdown().await.unwrap();
}

/// Blocks its thread until the log says so, or long enough to fail.
fn block_until(reported: &AtomicBool) {
    let since = Instant::now();
    while !reported.load(Ordering::SeqCst) && since.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A handler that blocks until the report is there: at its first poll, or after an await.
async fn blocks(after_an_await: bool) {
    let logs = Logs::capture();
    let (_, bus) = shop().await;
    let reported = Arc::new(AtomicBool::new(false));
    let group = bus.group("blocking");
    let calls = Calls::default();
    group
        .with((reported.clone(), calls.clone(), after_an_await))
        .named("spins")
        .on(
            async |(reported, calls, after_an_await): (Arc<AtomicBool>, Calls, bool),
                   order: Order| {
                if order.order == "ord-1" {
                    if after_an_await {
                        tokio::task::yield_now().await;
                    }
                    block_until(&reported);
                }
                calls.one();
            },
        );
    let watcher = std::thread::spawn({
        let (lines, reported) = (logs.lines(), reported.clone());
        move || {
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(15) {
                if lines.text().contains("group does not run") {
                    reported.store(true, Ordering::SeqCst);
                    return Some(since.elapsed());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            None
        }
    });
    bus.emit(order(1)).await.unwrap();
    bus.emit(order(2)).await.unwrap();
    settled(&bus).await;
    let took = watcher.join().unwrap().expect("reported");
    assert!(took < Duration::from_secs(6), "{took:?}");
    let report = &logs.with("group does not run")[0];
    assert!(report.contains("ERROR"), "{report}");
    assert!(
        report.contains("group=shop.blocking") && report.contains("spins"),
        "{report}"
    );
    assert_eq!(
        logs.with("group does not run").len(),
        1,
        "once: {}",
        logs.text()
    );
    assert_eq!(calls.count(), 2, "and nothing is lost");
    let stats = group.stats().unwrap();
    assert_eq!((stats.completed, stats.unsettled), (2, 0));
    bus.shutdown().await.unwrap();
}

#[tokio::test]
async fn row_69_a_handler_that_blocks_its_thread_is_reported_with_group_and_name() {
    blocks(false).await;
}

#[tokio::test]
async fn row_69_one_that_blocks_after_an_await_is_reported_too() {
    blocks(true).await;
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "echo", version = 1)]
struct Echo {
    story: u32,
}

#[tokio::test]
async fn row_71_an_event_that_emits_itself_for_ever_ends_at_the_hop_limit() {
    let (_, bus) = shop_with(Memory::new(), |bus| bus.max_hops(10)).await;
    let calls = Calls::default();
    bus.with((bus.clone(), calls.clone()))
        .on(async |(bus, calls): (Bus, Calls), echo: Echo| {
            calls.one();
            bus.emit(echo).await.map(drop)
        });
    for story in 0..3 {
        bus.emit(Echo { story }).await.unwrap();
    }
    settled(&bus).await;
    assert_eq!(calls.count(), 3 * 10, "hops 0 to 9 are handled");
    let letters = dead(&bus).await;
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert_eq!((letter.reason(), letter.attempts()), ("hop_limit", 0));
        assert!(
            letter.error().contains("10 handlers in a row"),
            "{}",
            letter.error()
        );
        assert!(
            letter.error().contains("the limit is 10"),
            "{}",
            letter.error()
        );
    }
    assert_conserved(&bus, 3 * 11);
    assert!(bus.shutdown().await.unwrap().is_clean());
}

#[tokio::test]
async fn row_71_the_default_limit_is_64() {
    let (_, bus) = shop().await;
    let calls = Calls::default();
    bus.with((bus.clone(), calls.clone()))
        .on(async |(bus, calls): (Bus, Calls), echo: Echo| {
            calls.one();
            bus.emit(echo).await.map(drop)
        });
    bus.emit(Echo { story: 1 }).await.unwrap();
    settled(&bus).await;
    assert_eq!(calls.count(), 64);
    assert_conserved(&bus, 65);
}

#[tokio::test]
async fn row_71_a_listener_that_emits_what_it_hears_ends_at_the_same_limit() {
    let (_, bus) = shop_with(Memory::new(), |bus| bus.max_hops(10)).await;
    let (calls, refused) = (Calls::default(), Calls::default());
    let counted = (bus.clone(), calls.clone(), refused.clone());
    bus.listen(move |echo: &Echo| {
        let (bus, calls, refused) = &counted;
        calls.one();
        if let Err(error) = bus.try_emit(echo.clone()) {
            assert!(error.is_not_published());
            assert!(
                error.reason().to_string().contains("the limit is 10"),
                "{error:?}"
            );
            refused.one();
        }
    });
    bus.emit(Echo { story: 1 }).await.unwrap();
    assert_eq!(
        (calls.count(), refused.count()),
        (10, 1),
        "the last one is told"
    );
}

fn topology() -> GroupTopology {
    GroupTopology {
        name: Name::from_static("other"),
        topics: Topics::exact([Order::NAME]),
        ordered: true,
        start: Start::Earliest,
        dead_letters: None,
        queue: None,
    }
}

fn subscribe(mode: Mode) -> Subscribe {
    let GroupTopology {
        name,
        topics,
        start,
        ordered,
        ..
    } = topology();
    Subscribe {
        group: name,
        topics,
        start,
        mode,
        window: 8,
        ordered,
    }
}

/// To settle twice is not possible by type (see the UI test); to settle late has no effect.
#[tokio::test]
async fn row_72_a_late_settle_has_no_effect_and_is_counted() {
    let memory = Memory::new();
    memory.attach(&topology()).unwrap();
    put(&memory, message()).await;
    let mut consumer = memory.subscribe(subscribe(Mode::AtMostOnce)).await.unwrap();
    let mut batch = Batch::default();
    consumer.receive(8, &mut batch).await.unwrap();
    // Taken over before it was handed over: giving it back comes too late.
    batch.drain().for_each(Received::release);
    assert_eq!(memory.counts().late, 1);
    assert_eq!(
        memory.lag(&Name::from_static("other")).await.unwrap()[0].behind(),
        0
    );
}

/// What a consumer held when it was closed is its group's again; an ack of it still counts once.
#[tokio::test]
async fn row_72_a_release_after_the_consumer_is_gone_loses_nothing() {
    let memory = Memory::new();
    memory.attach(&topology()).unwrap();
    for _ in 0..2 {
        put(&memory, message()).await;
    }
    let mut consumer = memory
        .subscribe(subscribe(Mode::AtLeastOnce))
        .await
        .unwrap();
    let mut batch = Batch::default();
    consumer.receive(8, &mut batch).await.unwrap();
    drop(consumer);
    let mut held: Vec<Received> = batch.drain().collect();
    held.pop().unwrap().release();
    held.pop().unwrap().ack();
    let mut next = memory
        .subscribe(subscribe(Mode::AtLeastOnce))
        .await
        .unwrap();
    within(next.receive(8, &mut batch)).await.unwrap();
    let attempts = batch.drain().map(|received| {
        let attempt = received.origination.attempt;
        received.ack();
        attempt
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [2], "it comes again, once");
    assert_eq!(
        memory.lag(&Name::from_static("other")).await.unwrap()[0].behind(),
        0
    );
}

/// A handler that is dropped at the drain deadline settles nothing afterwards.
#[tokio::test(start_paused = true)]
async fn row_72_a_handler_that_outlives_the_shutdown_is_abandoned_and_reported() {
    let (_, bus) = shop_with(Memory::new(), |bus| {
        bus.drain(Duration::from_secs(2)).retry(quick())
    })
    .await;
    let calls = counting(&bus);
    let (send, mut seen) = mpsc::channel(8);
    bus.group("slow")
        .with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.attempt()).await.unwrap();
            std::future::pending::<()>().await;
        });
    bus.emit(order(1)).await.unwrap();
    within(seen.recv()).await.unwrap();
    let error = within(bus.shutdown()).await.unwrap_err();
    let report = error.report().unwrap();
    assert_eq!((report.abandoned, report.unflushed), (1, 0), "{report}");
    assert_eq!(calls.count(), 1);
    assert_conserved(&bus, 1);
    assert_eq!(bus.dead_letters(SERVICE).topic(), "shop.dead");
}
