//! Row 40: a handler that waits for itself. Never a hang.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::Reason;
use tidings::{Bus, CompletedError, Event, ShutdownError, Subscription};
use tokio::sync::mpsc;

use crate::kit::{Calls, Order, assert_conserved, order, settled, shop_with, within};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "work.split", version = 1)]
struct Split {
    parts: usize,
}

#[derive(Debug, Default)]
struct Counted {
    ok: usize,
    full: usize,
}

/// 4 in the queue, 3 beyond it, then an error that names the queue as its own.
#[tokio::test]
async fn row_40_emitting_into_its_own_full_queue_spills_and_then_fails() {
    let memory = Memory::new().queue(4).spill(3);
    let (_, bus) = shop_with(memory, |bus| bus.concurrency(1)).await;
    let (send, mut counted) = mpsc::channel(8);
    let handled = Calls::default();
    bus.with((bus.clone(), send, handled.clone())).on(
        async |(bus, send, handled): (Bus, mpsc::Sender<Counted>, Calls), split: Split| {
            let mut counted = Counted::default();
            for _ in 0..split.parts {
                match bus.emit(Split { parts: 0 }).await {
                    Ok(_) => counted.ok += 1,
                    Err(error) => {
                        assert!(error.is_not_published() && error.is_full());
                        let own = matches!(error.reason(), Reason::Full { own_queue: true, group } if group == "shop");
                        assert!(own, "{error:?}");
                        assert_eq!(error.event().parts, 0, "handed back");
                        counted.full += 1;
                    }
                }
            }
            handled.one();
            if split.parts > 0 {
                send.send(counted).await.unwrap();
            }
        },
    );
    bus.emit(Split { parts: 20 }).await.unwrap();
    let counted = within(counted.recv()).await.unwrap();
    assert_eq!((counted.ok, counted.full), (7, 13), "4 queued, 3 spilled");
    settled(&bus).await;
    assert_eq!(handled.count(), 8, "every Ok is handled");
    assert_conserved(&bus, 8);
    bus.shutdown().await.unwrap();
}

#[tokio::test]
async fn row_40_waiting_for_ones_own_completion_is_an_error() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let (send, mut seen) = mpsc::channel(8);
    bus.with((bus.clone(), send)).on(
        async |(bus, send): (Bus, mpsc::Sender<String>), split: Split| {
            if split.parts == 0 {
                return;
            }
            let error = bus.emit(Split { parts: 0 }).completed().await.unwrap_err();
            assert!(matches!(&error, CompletedError::WouldDeadlock(group) if group == "shop"));
            send.send(error.to_string()).await.unwrap();
            send.send(bus.settled().await.unwrap_err().to_string())
                .await
                .unwrap();
            let error = bus.shutdown().await.unwrap_err();
            assert!(matches!(error, ShutdownError::WouldDeadlock(_)));
            send.send(error.to_string()).await.unwrap();
        },
    );
    bus.emit(Split { parts: 1 }).await.unwrap();
    for says in [
        "a handler of group shop waits for its own group",
        "the bus to settle",
        "the shutdown",
    ] {
        let told = within(seen.recv()).await.unwrap();
        assert!(told.contains(says), "{told}");
    }
    settled(&bus).await;
    // The event whose completion could not be waited for was not published.
    assert_conserved(&bus, 1);
    bus.shutdown().await.unwrap();
}

#[tokio::test]
async fn row_40_switching_itself_off_inside_itself_is_told_and_still_happens() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let (give, take) = tokio::sync::oneshot::channel::<Subscription>();
    let take = std::sync::Arc::new(tokio::sync::Mutex::new(Some(take)));
    let (send, mut seen) = mpsc::channel(8);
    let subscription = bus.on(move |_: Order| {
        let (take, send) = (take.clone(), send.clone());
        async move {
            let taken = take.lock().await.take();
            if let Some(taken) = taken {
                let error = taken.await.unwrap().off().await.unwrap_err();
                send.send(error.to_string()).await.unwrap();
            }
        }
    });
    give.send(subscription).unwrap();
    bus.emit(order(1)).await.unwrap();
    let told = within(seen.recv()).await.unwrap();
    assert!(told.contains("waits for itself to end"), "{told}");
    assert!(told.contains("spawn a task"), "the fix: {told}");
    settled(&bus).await;
    assert!(!bus.has_handlers::<Order>());
    let receipt = within(bus.emit(order(2))).await.unwrap();
    assert!(receipt.groups().is_empty(), "it has ended");
    assert_conserved(&bus, 1);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "ball.thrown", version = 1)]
struct Thrown {
    left: usize,
}

/// Two groups that fill each other's queue: each wait ends at the publish deadline.
#[tokio::test(start_paused = true)]
async fn row_40_two_groups_that_fill_each_other_end_at_the_publish_deadline() {
    let memory = Memory::new()
        .queue(1)
        .spill(0)
        .publish_deadline(Duration::from_secs(2));
    let (_, bus) = shop_with(memory, |bus| bus).await;
    let (send, mut seen) = mpsc::channel(64);
    for group in ["left", "right"] {
        let group = bus.group(group).concurrency(1).window(1);
        group.with((bus.clone(), send.clone())).on(
            async |(bus, send): (Bus, mpsc::Sender<bool>), thrown: Thrown| {
                if thrown.left > 0 {
                    for _ in 0..4 {
                        let sent = bus
                            .emit(Thrown {
                                left: thrown.left - 1,
                            })
                            .await;
                        send.send(sent.is_ok()).await.unwrap();
                    }
                }
            },
        );
    }
    bus.emit(Thrown { left: 1 }).await.unwrap();
    settled(&bus).await;
    drop(send);
    let mut sent = 0_u64;
    while let Ok(ok) = seen.try_recv() {
        sent += u64::from(ok);
    }
    for group in ["left", "right"] {
        let stats = bus.group(group).stats().unwrap();
        assert_eq!(
            (stats.completed, stats.unsettled),
            (1 + sent, 0),
            "{stats:?}"
        );
    }
    within(bus.shutdown()).await.unwrap();
}
