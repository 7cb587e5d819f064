//! contract: S1, S2, S3

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Event, RetryPolicy, ShutdownError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::kit::{Log, Step, World, step, until};

/// Nobody handles it: whether it can be emitted is all it tells.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "probe", version = 1)]
struct Probe {}

#[tokio::test(start_paused = true)]
async fn shutdown_drains_the_queues_and_a_second_one_is_harmless() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<u32>, event: Step| {
                tokio::time::sleep(Duration::from_millis(5)).await;
                log.push(event.number);
            });
        for number in 0..300 {
            bus.emit(step((number % 3).to_string(), number))
                .await
                .unwrap();
        }
        let report = bus.shutdown().await.unwrap();
        assert_eq!(log.len(), 300, "{url}");
        assert!(report.is_clean() && report.finished > 0, "{url}: {report}");
        let error = bus.emit(step("k", 1)).await.unwrap_err();
        assert!(
            error.is_closed() && error.is_not_published(),
            "{url}: {error:?}"
        );
        assert_eq!(error.into_event().unwrap(), step("k", 1));
        assert!(bus.try_emit(step("k", 2)).unwrap_err().is_closed());
        assert!(bus.shutdown().await.unwrap().is_clean(), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draining_handler_may_emit_and_nobody_else() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let gate = Arc::new(Semaphore::new(0));
        let log = Log::default();
        bus.group("a")
            .with((bus.clone(), Arc::clone(&gate), log.clone()))
            .on(
                async |(bus, gate, log): (Bus, Arc<Semaphore>, Log<String>),
                       event: Delivery<Step>| {
                    if event.number == 0 {
                        gate.acquire().await.unwrap().forget();
                        let emitted = bus.emit(step("k", 1)).await;
                        log.push(format!("emitted: {}", emitted.is_ok()));
                    } else {
                        log.push(format!("handled {}", event.number));
                    }
                },
            );
        bus.emit(step("j", 0)).await.unwrap();
        until("it runs", || bus.group("a").stats().unwrap().unsettled == 1).await;
        let closing = tokio::spawn({
            let bus = bus.clone();
            async move { bus.shutdown().await }
        });
        until("outside emits end", || bus.try_emit(Probe {}).is_err()).await;
        gate.add_permits(1);
        closing.await.unwrap().unwrap();
        assert_eq!(log.all(), ["emitted: true", "handled 1"], "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_retry_runs_at_once_and_what_then_fails_is_handed_back() {
    for (url, world) in World::all() {
        let policy = RetryPolicy::exponential()
            .base(Duration::from_secs(25))
            .cap(Duration::from_secs(30));
        let bus = world.builder().retry(policy).build().await.unwrap();
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<(u32, u32)>, event: Delivery<Step>| {
                log.push((event.number, event.attempt()));
                if event.number == 0 || event.attempt() == 1 {
                    Err("not yet")
                } else {
                    Ok(())
                }
            });
        bus.emit(step("never", 0)).await.unwrap();
        bus.emit(step("second", 1)).await.unwrap();
        bus.emit(step("never", 2)).await.unwrap();
        until("both wait for their retry", || log.len() == 2).await;
        let begun = Instant::now();
        let error = bus.shutdown().await.unwrap_err();
        assert!(
            begun.elapsed() <= Duration::from_secs(2),
            "{url}: {:?}",
            begun.elapsed()
        );
        let report = error.report().unwrap();
        assert_eq!(
            (report.handed_back, report.abandoned),
            (2, 0),
            "{url}: {report}"
        );
        let mut tries = log.all();
        tries.sort_unstable();
        assert_eq!(
            tries,
            [(0, 1), (0, 2), (1, 1), (1, 2)],
            "{url}: the key's next event did not pass it"
        );
    }
}

/// Fault F44.
#[tokio::test(start_paused = true)]
async fn a_stuck_handler_is_dropped_at_the_drain_deadline_and_named() {
    for (url, world) in World::all() {
        let bus = world
            .builder()
            .drain(Duration::from_secs(3))
            .deadline(Duration::from_secs(20))
            .build()
            .await
            .unwrap();
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<bool>, event: Delivery<Step>| {
                event.cancelled().await;
                log.push(event.is_cancelled());
                std::future::pending::<()>().await;
            });
        bus.emit(step("k", 0)).await.unwrap();
        until("it runs", || bus.named("x").stats().unwrap().unsettled == 1).await;
        let begun = Instant::now();
        let error = bus.shutdown().await.unwrap_err();
        assert!(matches!(error, ShutdownError::Unfinished(_)));
        assert_eq!(error.report().unwrap().abandoned, 1, "{url}: {error}");
        assert!(
            begun.elapsed() <= Duration::from_secs(4),
            "{url}: {:?}",
            begun.elapsed()
        );
        assert_eq!(log.all(), [true], "{url}: the handler was told first");
    }
}

/// Fault F45: neither drop hangs or panics, in both flavours.
#[test]
fn dropping_the_bus_or_the_runtime_neither_hangs_nor_panics() {
    for multi in [false, true] {
        let runtime = if multi {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap()
        } else {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let bus = runtime.block_on(async {
            let bus = Bus::builder("svc").build().await.unwrap();
            bus.on(async |_: Step| std::future::pending::<()>().await);
            for number in 0..10 {
                bus.emit(step(number.to_string(), number)).await.unwrap();
            }
            let dropped = Bus::builder("other").build().await.unwrap();
            dropped.on(async |_: Step| std::future::pending::<()>().await);
            dropped.emit(step("k", 1)).await.unwrap();
            drop(dropped);
            bus
        });
        drop(runtime);
        // The runtime is gone: an emit still fills the queue or fails, and neither hangs.
        let _ = bus.try_emit(step("k", 1));
        drop(bus);
    }
}

#[tokio::test(start_paused = true)]
async fn starting_twice_is_harmless_and_checks_everything_at_once() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        bus.start().await.unwrap();
        bus.start().await.unwrap();
        bus.on(async |_: Step| {});
        bus.on(async |_: Step| {});
        bus.group("bad").concurrency(0).on(async |_: Step| {});
        let error = bus.start().await.unwrap_err();
        assert_eq!(error.problems().len(), 2, "{url}: {error}");
        assert!(error.to_string().contains("named"), "{error}");
        assert!(error.to_string().contains("concurrency is 0"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_left_a_queue_is_reported() {
    for (url, world) in World::all() {
        let bus = world
            .builder()
            .drain(Duration::from_secs(5))
            .build()
            .await
            .unwrap();
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<u32>, event: Step| {
                log.push(event.number);
            });
        bus.emit(step("k", 0)).await.unwrap();
        bus.emit(step("k", 1))
            .after(Duration::from_secs(3_600))
            .await
            .unwrap();
        bus.emit(step("j", 2))
            .after(Duration::from_secs(3))
            .await
            .unwrap();
        let error = bus.shutdown().await.unwrap_err();
        let report = error.report().unwrap();
        assert_eq!(
            (report.handed_back, report.abandoned),
            (1, 0),
            "{url}: {report}"
        );
        assert_eq!(log.all(), [0, 2], "{url}: what was due in time was handled");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_bus_of_the_service_finds_what_was_handed_back() {
    for (url, world) in World::all() {
        let log = Log::default();
        for failing in [true, false] {
            let bus = world.bus().await;
            bus.with(log.clone()).on(
                move |log: Log<(bool, u32)>, event: Delivery<Step>| async move {
                    log.push((failing, event.number));
                    if failing && event.number == 1 {
                        Err("not here")
                    } else {
                        Ok(())
                    }
                },
            );
            if failing {
                for number in 0..3 {
                    bus.emit(step("k", number)).await.unwrap();
                }
                until("the second one failed", || log.len() == 2).await;
                assert!(bus.shutdown().await.is_err(), "{url}");
            } else {
                bus.settled().await.unwrap();
                bus.shutdown().await.unwrap();
            }
        }
        let second: Vec<u32> = log
            .all()
            .into_iter()
            .filter(|(f, _)| !f)
            .map(|(_, n)| n)
            .collect();
        assert_eq!(
            second,
            [1, 2],
            "{url}: in order, and nothing that was done before"
        );
    }
}
