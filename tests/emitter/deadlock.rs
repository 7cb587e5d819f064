//! Waiting, inside a handler, for what waits for that handler.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use tidings::{Bus, CompletedError, ShutdownError, Subscription};

use crate::kit::{Log, Ping, Pong, bus};

type Own = Arc<Mutex<Option<Subscription>>>;

async fn ask_for_everything((bus, log, own): (Bus, Log, Own), ping: Ping) {
    let completed = bus.emit(Ping(ping.0 + 1)).completed().await;
    let refused = matches!(completed, Err(CompletedError::WouldDeadlock(group)) if group == "svc");
    log.add(format!("completed refused: {refused}"));
    log.add(format!("settled refused: {}", bus.settled().await.is_err()));
    let shutdown = bus.shutdown().await;
    log.add(format!(
        "shutdown refused: {}",
        matches!(shutdown, Err(ShutdownError::WouldDeadlock(_)))
    ));
    let own = own.lock().unwrap().take();
    log.add(format!(
        "off refused: {}",
        own.unwrap().off().await.is_err()
    ));
}

async fn everything_is_refused() {
    let bus = bus().await;
    let log = Log::default();
    let own = Own::default();
    let state = (bus.clone(), log.clone(), Arc::clone(&own));
    *own.lock().unwrap() = Some(bus.with(state).on(ask_for_everything));
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        [
            "completed refused: true",
            "settled refused: true",
            "shutdown refused: true",
            "off refused: true"
        ]
    );
    assert!(
        !bus.has_handlers::<Ping>(),
        "off has ended the registration all the same"
    );
    bus.emit(Ping(5)).await.unwrap();
    bus.shutdown().await.unwrap();
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test]
async fn awaiting_completed_settled_shutdown_or_off_inside_the_handler_they_wait_for_would_deadlock()
 {
    everything_is_refused().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn it_would_deadlock_on_several_threads_too() {
    everything_is_refused().await;
}

/// What the handler's own group does not get may be waited for.
#[tokio::test]
async fn completed_inside_a_handler_may_wait_for_another_group() {
    let bus = bus().await;
    let log = Log::default();
    bus.with((bus.clone(), log.clone()))
        .on(async |(bus, log): (Bus, Log), ping: Ping| {
            let completion = bus.emit(Pong(ping.0)).completed().await.unwrap();
            log.add(format!(
                "{} outcome, ok: {}",
                completion.outcomes.len(),
                completion.is_ok()
            ));
        });
    bus.group("other")
        .with(log.clone())
        .on(async |log: Log, _: Pong| log.add("other"));
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), ["other", "1 outcome, ok: true"]);
}

/// A task that the handler spawns does not hold the handler up.
#[tokio::test]
async fn a_task_spawned_by_a_handler_may_wait_for_the_bus() {
    let bus = bus().await;
    let log = Log::default();
    bus.with((bus.clone(), log.clone()))
        .on(async |(bus, log): (Bus, Log), _: Ping| {
            let waits = bus.clone();
            tokio::spawn(bus.context().scope(async move {
                waits.settled().await.unwrap();
                log.add("settled");
                waits.shutdown().await.unwrap();
                log.add("shut down");
            }));
        });
    let ends = bus.wait_for(|_: &Pong| false);
    bus.emit(Ping(1)).await.unwrap();
    ends.await.unwrap_err();
    crate::kit::until(|| bus.try_emit(Ping(2)).is_err()).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(log.take());
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, ["settled", "shut down"]);
}

/// Two buses do not wait for each other unless a handler of one is awaited in the other.
#[tokio::test]
async fn a_handler_may_wait_for_another_bus() {
    let (one, other) = (bus().await, bus().await);
    let log = Log::default();
    let seen = log.clone();
    other
        .with(log.clone())
        .on(async |log: Log, _: Ping| log.add("other"));
    one.with((other.clone(), log.clone()))
        .on(async |(other, log): (Bus, Log), ping: Ping| {
            other.emit(ping).completed().await.unwrap();
            other.settled().await.unwrap();
            other.shutdown().await.unwrap();
            log.add("waited");
        });
    one.emit(Ping(1)).await.unwrap();
    one.settled().await.unwrap();
    assert_eq!(seen.take(), ["other", "waited"]);
}
