//! contract: O1, O2, O4

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::AfterDeadLetter;
use tokio::sync::{Notify, Semaphore};

use crate::kit::{Log, Step, World, step, until};

#[tokio::test(start_paused = true)]
async fn fifo_per_key_across_a_retry() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<Step>, event: Step| {
                let tries = log.all().iter().filter(|seen| **seen == event).count();
                log.push(event.clone());
                if event.key == "slow" && event.number == 0 && tries < 2 {
                    Err("again")
                } else {
                    Ok(())
                }
            });
        for number in 0..5 {
            bus.emit(step("slow", number)).await.unwrap();
            bus.emit(step("fast", number)).await.unwrap();
        }
        bus.settled().await.unwrap();
        let of = |key: &str| -> Vec<u32> {
            log.all()
                .iter()
                .filter(|seen| seen.key == key)
                .map(|seen| seen.number)
                .collect()
        };
        assert_eq!(of("slow"), [0, 0, 0, 1, 2, 3, 4], "{url}");
        assert_eq!(of("fast"), [0, 1, 2, 3, 4], "{url}");
        let last_fast = log
            .all()
            .iter()
            .rposition(|seen| seen.key == "fast")
            .unwrap();
        let first_retry = log
            .all()
            .iter()
            .enumerate()
            .filter(|(_, s)| s.key == "slow" && s.number == 0)
            .nth(1)
            .unwrap()
            .0;
        assert!(
            last_fast < first_retry,
            "{url}: other keys go on while one waits for its retry"
        );
    }
}

#[tokio::test]
async fn one_key_is_serial_and_keys_are_parallel_up_to_the_concurrency() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let running: Arc<[AtomicUsize; 8]> = Arc::default();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        let state = (
            running,
            Arc::clone(&now),
            Arc::clone(&most),
            Arc::clone(&done),
        );
        bus.group("g").concurrency(4).with(state).on(
            async |(running, now, most, done): (
                Arc<[AtomicUsize; 8]>,
                Arc<AtomicUsize>,
                Arc<AtomicUsize>,
                Arc<AtomicUsize>,
            ),
                   event: Step| {
                let lane = event.key.parse::<usize>().unwrap();
                assert_eq!(
                    running[lane].fetch_add(1, Ordering::SeqCst),
                    0,
                    "two of one key at once"
                );
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..(event.number % 5) {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                running[lane].fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
            },
        );
        for number in 0..2_000 {
            bus.emit(step((number % 8).to_string(), number))
                .await
                .unwrap();
        }
        bus.settled().await.unwrap();
        assert_eq!(
            done.load(Ordering::SeqCst),
            2_000,
            "{url}: a handler failed"
        );
        let most = most.load(Ordering::SeqCst);
        assert!((2..=4).contains(&most), "{url}: {most} at once");
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_stalls_no_other_until_it_fills_the_window() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let gate = Arc::new(Semaphore::new(0));
        let log = Log::default();
        bus.group("g")
            .window(10)
            .concurrency(2)
            .with((Arc::clone(&gate), log.clone()))
            .on(
                async |(gate, log): (Arc<Semaphore>, Log<Step>), event: Step| {
                    if event.key == "hot" {
                        gate.acquire().await.unwrap().forget();
                    }
                    log.push(event);
                },
            );
        for number in 0..9 {
            bus.emit(step("hot", number)).await.unwrap();
        }
        // Nine of ten places of the window belong to the hot key; the tenth still moves others.
        for number in 0..20 {
            bus.emit(step("cold", number)).await.unwrap();
        }
        until("cold keys pass the hot one", || log.len() == 20).await;
        bus.emit(step("hot", 9)).await.unwrap();
        bus.emit(step("cold", 20)).await.unwrap();
        until("the window is full", || {
            bus.group("g").stats().unwrap().unsettled == 10
        })
        .await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            log.len(),
            20,
            "{url}: the window is full, so nothing more is taken"
        );
        gate.add_permits(100);
        bus.settled().await.unwrap();
        assert_eq!(log.len(), 31, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_dead_letter_the_key_goes_on_or_the_group_stops() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let logs: HashMap<&str, Log<u32>> = ["continue", "stop"]
            .into_iter()
            .map(|name| (name, Log::default()))
            .collect();
        for (name, policy) in [
            ("continue", AfterDeadLetter::Continue),
            ("stop", AfterDeadLetter::StopGroup),
        ] {
            bus.group(name)
                .after_dead_letter(policy)
                .with(logs[name].clone())
                .on(async |log: Log<u32>, event: Step| {
                    if event.number == 1 {
                        return Err(tidings::permanent("poison"));
                    }
                    log.push(event.number);
                    Ok(())
                });
        }
        for number in 0..4 {
            bus.emit(step("k", number)).await.unwrap();
        }
        until("the other group is through", || logs["continue"].len() == 3).await;
        until("the group stopped", || {
            bus.group("stop").stats().unwrap().stopped
        })
        .await;
        assert_eq!(logs["continue"].all(), [0, 2, 3], "{url}");
        assert_eq!(
            logs["stop"].all(),
            [0],
            "{url}: nothing after the dead letter"
        );
        assert!(bus.explain().to_string().contains("stopped"));
        let error = bus
            .group("park")
            .after_dead_letter(AfterDeadLetter::ParkKey);
        error.on(async |_: Step| {});
        let error = bus.start().await.unwrap_err();
        assert!(
            error
                .problems()
                .iter()
                .any(|problem| problem.contains("ParkKey")),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unordered_group_runs_one_key_side_by_side() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (entered, leave) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        bus.group("g")
            .unordered()
            .with((Arc::clone(&entered), Arc::clone(&leave)))
            .on(
                async |(entered, leave): (Arc<AtomicUsize>, Arc<Notify>), _: Step| {
                    let left = leave.notified();
                    entered.fetch_add(1, Ordering::SeqCst);
                    left.await;
                },
            );
        for number in 0..5 {
            bus.emit(step("k", number)).await.unwrap();
        }
        until(url, || entered.load(Ordering::SeqCst) == 5).await;
        leave.notify_waiters();
        bus.settled().await.unwrap();
    }
}
