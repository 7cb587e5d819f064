//! What went wrong once, where things happen at the same time or in an odd order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::transport::{Message, PublishError, Receipt};
use tidings::{
    AfterDeadLetter, Bus, CompletedError, Delivery, Event, Middleware, NextPublish, Subscription,
    async_trait, permanent,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::kit::{Log, Step, World, step, until};

#[tokio::test(start_paused = true)]
async fn a_handler_that_removes_its_sibling_blocks_nothing() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let sibling: Arc<std::sync::Mutex<Option<Subscription>>> = Arc::default();
        let log = Log::default();
        let state = (Arc::clone(&sibling), log.clone());
        bus.named("first").with(state).on(
            async |(sibling, log): (Arc<std::sync::Mutex<Option<Subscription>>>, Log<u32>),
                   e: Step| {
                // Dropped here, inline, while the event's shares are being started.
                drop(sibling.lock().unwrap().take());
                log.push(e.number);
            },
        );
        let second = bus.named("second").on(async |_: Step| {}).off_on_drop();
        *sibling.lock().unwrap() = Some(second);
        for number in 0..3 {
            bus.emit(step("k", number)).await.unwrap();
        }
        tokio::time::timeout(Duration::from_secs(60), bus.settled())
            .await
            .expect(url)
            .unwrap();
        assert_eq!(log.all(), [0, 1, 2], "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_draining_nothing_passes_what_was_handed_back() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
        bus.group("g")
            .window(2)
            .with((log.clone(), Arc::clone(&gate)))
            .on(
                async |(log, gate): (Log<String>, Arc<Semaphore>), event: Step| {
                    gate.acquire().await.unwrap().forget();
                    log.push(format!("{}{}", event.key, event.number));
                    if event.number == 0 {
                        Err("not now")
                    } else {
                        Ok(())
                    }
                },
            );
        for number in 0..10 {
            bus.emit(step("x", number)).await.unwrap();
            bus.emit(step("y", number + 1)).await.unwrap();
        }
        until("two are taken", || {
            bus.group("g").stats().unwrap().unsettled == 2
        })
        .await;
        let begun = Instant::now();
        let closing = tokio::spawn({
            let bus = bus.clone();
            async move { bus.shutdown().await }
        });
        tokio::task::yield_now().await;
        gate.add_permits(1_000);
        let error = closing.await.unwrap().unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{url}: {:?}",
            begun.elapsed()
        );
        let seen = log.all();
        assert!(
            !seen
                .iter()
                .any(|seen| seen.starts_with('x') && seen != "x0"),
            "{url}: {seen:?}"
        );
        assert_eq!(
            seen.iter().filter(|seen| seen.starts_with('y')).count(),
            10,
            "{url}: {seen:?}"
        );
        assert_eq!(error.report().unwrap().handed_back, 10, "{url}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_of_failures_does_not_stop_the_drain() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (log, open) = (Log::default(), Arc::new(Semaphore::new(0)));
        bus.group("g")
            .window(4)
            .with((log.clone(), Arc::clone(&open)))
            .on(
                async |(log, open): (Log<u32>, Arc<Semaphore>), event: Step| {
                    let _open = open.acquire().await.unwrap();
                    if event.number < 4 {
                        return Err("bad");
                    }
                    log.push(event.number);
                    Ok(())
                },
            );
        for number in 0..100 {
            bus.emit(step(number.to_string(), number)).await.unwrap();
        }
        until("the window is full", || {
            bus.group("g").stats().unwrap().unsettled == 4
        })
        .await;
        let begun = Instant::now();
        let closing = tokio::spawn({
            let bus = bus.clone();
            async move { bus.shutdown().await }
        });
        tokio::task::yield_now().await;
        open.add_permits(100);
        let error = closing.await.unwrap().unwrap_err();
        assert_eq!(log.len(), 96, "{url}: memory drains its queues");
        assert_eq!(error.report().unwrap().handed_back, 4, "{url}: {error}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{url}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_that_waits_for_its_twin_is_no_unfinished_work() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        bus.group("g").unordered().on(async |_: Step| {
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        for _ in 0..2 {
            bus.emit(step("k", 1)).id("evt-1").await.unwrap();
        }
        until("both are taken", || {
            bus.group("g").stats().unwrap().unsettled == 2
        })
        .await;
        let report = bus.shutdown().await.expect(url);
        assert_eq!(report.finished, 2, "{url}: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_ends_what_runs_and_answers_who_waits() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (log, leave) = (Log::default(), Arc::new(Notify::new()));
        bus.group("g")
            .after_dead_letter(AfterDeadLetter::StopGroup)
            .with((log.clone(), Arc::clone(&leave)))
            .on(async |(log, leave): (Log<u32>, Arc<Notify>), event: Step| {
                if event.number == 1 {
                    return Err(permanent("stop"));
                }
                leave.notified().await;
                log.push(event.number);
                Ok(())
            });
        bus.emit(step("a", 0)).await.unwrap();
        bus.emit(step("b", 1)).await.unwrap();
        until("it stopped", || bus.group("g").stats().unwrap().stopped).await;
        leave.notify_one();
        until("what ran has ended", || log.all() == [0]).await;
        let completed = bus.emit(step("c", 2)).completed();
        let completed = tokio::time::timeout(Duration::from_secs(60), completed).await;
        assert!(
            matches!(completed.expect(url), Err(CompletedError::Closed)),
            "{url}"
        );
        bus.settled().await.unwrap();
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "invoice.sent", version = 1, key = customer, id = number)]
struct InvoiceSent {
    customer: String,
    number: u64,
}

/// Refuses the first publish, after which everything passes.
struct RefuseFirst(AtomicUsize);

#[async_trait]
impl Middleware for RefuseFirst {
    async fn publish(
        &self,
        message: Message,
        next: NextPublish<'_>,
    ) -> Result<Receipt, PublishError> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(PublishError::unknown(tidings::Reason::Timeout));
        }
        next.run(message).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_try_is_the_same_event_in_everything() {
    for (url, world) in World::all() {
        let refuse = RefuseFirst(AtomicUsize::new(0));
        let bus = world
            .builder()
            .around_publish(refuse)
            .build()
            .await
            .unwrap();
        let log = Log::default();
        bus.with(log.clone()).on(
            async |log: Log<[String; 4]>, event: Delivery<InvoiceSent>| {
                log.push([
                    event.id().to_string(),
                    event.key().unwrap_or_default().to_owned(),
                    event.header("region").unwrap_or_default().to_owned(),
                    event.correlation_id().to_string(),
                ]);
            },
        );
        let invoice = InvoiceSent {
            customer: "c".into(),
            number: 7,
        };
        let refused = bus.try_emit(invoice.clone()).unwrap_err();
        assert_eq!(
            refused.id(),
            "invoice.sent:7",
            "{url}: the id of the fact, published or not"
        );
        let failed = bus
            .emit(invoice)
            .key("other")
            .header("region", "eu")
            .correlation("cor-1")
            .await
            .unwrap_err();
        assert!(failed.is_unknown(), "{url}");
        bus.emit_again(failed).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [["invoice.sent:7", "other", "eu", "cor-1"].map(str::to_owned)],
            "{url}"
        );
    }
}

#[tokio::test]
async fn nothing_a_listener_owns_outlives_the_shutdown() {
    let bus = Bus::builder("svc").build().await.unwrap();
    let owned = Arc::new(());
    let (a, b, c) = (Arc::clone(&owned), Arc::clone(&owned), Arc::clone(&owned));
    bus.listen(move |_: &Step| drop(Arc::clone(&a)));
    bus.on_any(move |_| drop(Arc::clone(&b)));
    bus.on(move |_: Step| {
        let c = Arc::clone(&c);
        async move { drop(c) }
    });
    bus.emit(step("k", 1)).await.unwrap();
    bus.shutdown().await.unwrap();
    assert_eq!(Arc::strong_count(&owned), 1);
}

#[tokio::test]
async fn groups_that_come_and_go_leave_no_task() {
    let bus = Bus::builder("svc").build().await.unwrap();
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    for number in 0..200 {
        let handler = bus.group(format!("conn-{number}")).on(async |_: Step| {});
        handler.off().await.unwrap();
    }
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    until("their tasks end", || alive() <= before + 1).await;
    let log = Log::default();
    bus.group("conn-7")
        .with(log.clone())
        .on(async |log: Log<u32>, event: Step| {
            log.push(event.number);
        });
    bus.emit(step("k", 1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.all(),
        [1],
        "a group that ended begins again with its next handler"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_and_on_at_the_same_time_leave_the_new_handler_attached() {
    let bus = Bus::builder("svc").build().await.unwrap();
    for round in 0..300_u32 {
        let old = bus
            .group("g")
            .named(format!("old-{round}"))
            .on(async |_: Step| {});
        let off = tokio::spawn(old.off());
        let log = Log::default();
        let new = bus
            .group("g")
            .named(format!("new-{round}"))
            .with(log.clone())
            .on(async |log: Log<u32>, event: Step| {
                log.push(event.number);
            });
        off.await.unwrap().unwrap();
        let receipt = bus.emit(step("k", round)).await.unwrap();
        assert_eq!(receipt.groups(), ["svc.g"], "round {round}");
        bus.settled().await.unwrap();
        assert_eq!(log.all(), [round]);
        new.off().await.unwrap();
    }
}
