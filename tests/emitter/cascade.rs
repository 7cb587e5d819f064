//! Events emitted by those that hear events.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use tidings::transport::Reason;
use tidings::{Bus, Context, Event};

use crate::kit::{Echo, Log, Ping, Pong, bus};

#[tokio::test]
async fn events_emitted_inside_a_listener_are_queued_breadth_first() {
    let bus = bus().await;
    let log = Log::default();
    let (first, emits) = (log.clone(), bus.clone());
    bus.listen(move |ping: &Ping| {
        first.add(format!("ping {} begins", ping.0));
        emits.try_emit(Pong(1)).unwrap();
        emits.try_emit(Pong(2)).unwrap();
        first.add(format!("ping {} ends", ping.0));
    });
    let second = log.clone();
    bus.listen(move |ping: &Ping| second.add(format!("ping {} again", ping.0)));
    let (pongs, emits) = (log.clone(), bus.clone());
    bus.listen(move |pong: &Pong| {
        pongs.add(format!("pong {}", pong.0));
        emits.try_emit(Echo(pong.0)).unwrap();
    });
    let echoes = log.clone();
    bus.listen(move |echo: &Echo| echoes.add(format!("echo {}", echo.0)));

    bus.emit(Ping(0)).await.unwrap();
    assert_eq!(
        log.take(),
        [
            "ping 0 begins",
            "ping 0 ends",
            "ping 0 again",
            "pong 1",
            "pong 2",
            "echo 1",
            "echo 2"
        ],
        "all before the emit returned"
    );
}

/// A listener that drives a future itself keeps its own event, and what it queued stays queued.
#[tokio::test]
async fn a_scope_that_is_polled_inside_a_listener_leaves_its_event_alone() {
    let bus = bus().await;
    let log = Log::default();
    let (first, emits) = (log.clone(), bus.clone());
    bus.listen(move |ping: &Ping| {
        let mine = || emits.context().event_id().unwrap().clone();
        let before = mine();
        emits.try_emit(Pong(ping.0)).unwrap();
        for context in [emits.context(), Context::default()] {
            let emitted = context.scope(async { emits.try_emit(Echo(ping.0)).unwrap() });
            let echo = emitted.now_or_never().unwrap();
            assert_ne!(*echo.id(), before);
            assert_eq!(mine(), before);
        }
        first.add("ping ends");
    });
    let second = log.clone();
    bus.listen(move |_: &Ping| second.add("ping again"));
    let pongs = log.clone();
    bus.listen(move |_: &Pong| pongs.add("pong"));
    let (echoes, asks) = (log.clone(), bus.clone());
    bus.listen(move |_: &Echo| {
        assert!(asks.context().event_id().is_some());
        echoes.add("echo");
    });
    bus.try_emit(Ping(0)).unwrap();
    let expected = ["echo", "echo", "ping ends", "ping again", "pong"];
    assert_eq!(log.take(), expected);
}

#[tokio::test]
async fn events_emitted_inside_a_handler_are_queued_breadth_first() {
    let bus = bus().await;
    let log = Log::default();
    let one = bus.group("one").concurrency(1);
    let state = (bus.clone(), log.clone());
    one.with(state.clone())
        .on(async |(bus, log): (Bus, Log), ping: Ping| {
            log.add(format!("ping {} begins", ping.0));
            bus.emit(Pong(1)).await.unwrap();
            bus.emit(Pong(2)).await.unwrap();
            tokio::task::yield_now().await;
            log.add(format!("ping {} ends", ping.0));
        });
    one.with(state)
        .on(async |(bus, log): (Bus, Log), pong: Pong| {
            log.add(format!("pong {}", pong.0));
            bus.emit(Echo(pong.0)).await.unwrap();
        });
    one.with(log.clone())
        .on(async |log: Log, echo: Echo| log.add(format!("echo {}", echo.0)));
    bus.emit(Ping(0)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        [
            "ping 0 begins",
            "ping 0 ends",
            "pong 1",
            "pong 2",
            "echo 1",
            "echo 2"
        ]
    );
}

/// How many calls run inside each other.
#[derive(Clone, Default)]
struct Depth(Arc<(AtomicUsize, AtomicUsize, AtomicUsize)>);

impl Depth {
    fn inside<R>(&self, run: impl FnOnce() -> R) -> R {
        let (now, most, calls) = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        calls.fetch_add(1, Ordering::SeqCst);
        let result = run();
        now.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// The deepest so far, and how many calls there were.
    fn seen(&self) -> (usize, usize) {
        (
            self.0.1.load(Ordering::SeqCst),
            self.0.2.load(Ordering::SeqCst),
        )
    }
}

const LONG: u32 = 20_000;

#[tokio::test]
async fn a_long_chain_of_listeners_is_never_recursive() {
    let bus = Bus::builder("svc")
        .max_hops(u16::MAX)
        .build()
        .await
        .unwrap();
    let depth = Depth::default();
    let (seen, emits) = (depth.clone(), bus.clone());
    bus.listen(move |ping: &Ping| {
        seen.inside(|| {
            if ping.0 < LONG {
                emits.try_emit(Ping(ping.0 + 1)).unwrap();
            }
        });
    });
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(depth.seen(), (1, LONG as usize));
}

#[tokio::test]
async fn a_long_chain_of_handlers_is_never_recursive() {
    let bus = Bus::builder("svc")
        .max_hops(u16::MAX)
        .build()
        .await
        .unwrap();
    let depth = Depth::default();
    bus.with((bus.clone(), depth.clone()))
        .on(async |(bus, depth): (Bus, Depth), ping: Ping| {
            depth.inside(|| {
                if ping.0 < LONG {
                    bus.try_emit(Ping(ping.0 + 1)).unwrap();
                }
            });
        });
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(depth.seen(), (1, LONG as usize));
}

#[tokio::test]
async fn an_emit_inside_a_listener_publishes_at_once_and_its_listeners_run_after_the_current_events()
 {
    let bus = bus().await;
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log, pong: Pong| log.add(format!("handler {}", pong.0)));
    let (first, emits) = (log.clone(), bus.clone());
    bus.listen(move |_: &Ping| {
        let receipt = emits.try_emit(Pong(1)).unwrap();
        let groups: Vec<&str> = receipt.groups().iter().map(|group| &**group).collect();
        first.add(format!("published to {groups:?}"));
    });
    let second = log.clone();
    bus.listen(move |_: &Ping| second.add("the current event's next listener"));
    let third = log.clone();
    bus.listen(move |_: &Pong| third.add("the emitted event's listener"));
    bus.emit(Ping(1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(
        log.take(),
        [
            r#"published to ["svc"]"#,
            "the current event's next listener",
            "the emitted event's listener",
            "handler 1",
        ]
    );
}

#[tokio::test]
async fn a_listener_that_emits_what_it_hears_is_stopped_by_the_hop_limit() {
    let bus = bus().await;
    let log = Log::default();
    let (errors, emits) = (log.clone(), bus.clone());
    bus.listen(move |ping: &Ping| {
        if let Err(error) = emits.try_emit(Ping(ping.0 + 1)) {
            assert!(matches!(error.reason(), Reason::Invalid(_)), "{error:?}");
            errors.add(format!("{}: {}", error.event().0, error.reason()));
        }
    });
    bus.emit(Ping(0)).await.unwrap();
    let errors = log.take();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("64: 64 listeners and handlers in a row"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_handler_that_emits_what_it_handles_is_stopped_by_the_hop_limit() {
    let bus = bus().await;
    let depth = Depth::default();
    bus.with((bus.clone(), depth.clone()))
        .on(async |(bus, depth): (Bus, Depth), ping: Ping| {
            depth.inside(|| bus.try_emit(Ping(ping.0 + 1))).map(drop)
        });
    bus.emit(Ping(0)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(depth.seen().1, 64);
    let dead = bus.dead_letters("svc").list().await.unwrap();
    assert_eq!(
        dead.iter()
            .map(|letter| letter.reason())
            .collect::<Vec<_>>(),
        ["hop_limit"]
    );
    assert_eq!(dead[0].name(), Some(Ping::NAME));
}

/// What waits for its listeners is bounded, and what is beyond the bound is an error.
#[tokio::test]
async fn a_listener_that_emits_without_end_is_told_so() {
    let bus = bus().await;
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    bus.listen(move |_: &Pong| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let log = Log::default();
    let (outcome, emits) = (log.clone(), bus.clone());
    bus.listen(move |_: &Ping| {
        let refused = (0..10_000)
            .map(|number| emits.try_emit(Pong(number)))
            .find_map(Result::err)
            .unwrap();
        let own = matches!(
            refused.reason(),
            Reason::Full {
                own_queue: true,
                ..
            }
        );
        outcome.add(format!(
            "pong {} refused, own queue: {own}",
            refused.event().0
        ));
    });
    bus.emit(Ping(1)).await.unwrap();
    assert_eq!(log.take(), ["pong 1024 refused, own queue: true"]);
    assert_eq!(heard.load(Ordering::Relaxed), 1_024, "every Ok was heard");
}
