//! contract: D1, D6; house rules 2, 7, 10

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::transport::Name;
use tidings::{Bus, Delivery, Event, ReplayError, Start, permanent};
use tokio::sync::Semaphore;

use crate::kit::{Log, Step, World, step, until};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "step.counted", version = 1)]
struct Counted {
    number: u32,
}

#[tokio::test(start_paused = true)]
async fn groups_are_independent_and_named_after_their_service() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let other = Bus::builder("other")
            .transport(world.memory.clone())
            .build()
            .await
            .unwrap();
        let log = Log::default();
        bus.group("notifications")
            .on(async |_: Step| Err::<(), _>(permanent("broken here")));
        other
            .group("notifications")
            .with(log.clone())
            .on(async |log: Log<u32>, event: Step| {
                log.push(event.number);
            });
        assert_eq!(bus.group("notifications").wire_name(), "svc.notifications");
        assert_eq!(
            bus.group("notifications").exact().wire_name(),
            "notifications"
        );
        assert_eq!(bus.named("x").wire_name(), "svc");
        let receipt = bus.emit(step("k", 1)).await.unwrap();
        let mut groups: Vec<_> = receipt.groups().iter().map(Name::to_string).collect();
        groups.sort();
        assert_eq!(
            groups,
            ["other.notifications", "svc.notifications"],
            "{url}"
        );
        bus.settled().await.unwrap();
        other.settled().await.unwrap();
        assert_eq!(log.all(), [1], "{url}: failure there is invisible here");
        assert_eq!(
            bus.dead_letters("notifications")
                .list()
                .await
                .unwrap()
                .len(),
            1
        );
        assert!(
            other
                .dead_letters("notifications")
                .list()
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_subscriber_is_ok_and_said() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let receipt = bus.emit(step("k", 1)).await.unwrap();
        assert!(receipt.groups().is_empty(), "{url}");
        assert!(!bus.has_handlers::<Step>());
        bus.settled().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_reaches_exactly_one_final_state_cascades_included() {
    for (url, world) in World::all() {
        let bus = world.builder().concurrency(7).build().await.unwrap();
        let counted = Log::default();
        bus.group("first")
            .with(bus.clone())
            .on(async |bus: Bus, event: Step| {
                if event.number % 10 == 3 {
                    return Err(permanent("three"));
                }
                bus.emit(Counted {
                    number: event.number,
                })
                .await
                .map_err(|error| permanent(error.to_string()))?;
                Ok(())
            });
        bus.group("second")
            .with(counted.clone())
            .on(async |log: Log<u32>, event: Counted| {
                tokio::task::yield_now().await;
                log.push(event.number);
            });
        for number in 0..1_000 {
            bus.emit(step((number % 13).to_string(), number))
                .await
                .unwrap();
        }
        bus.settled().await.unwrap();
        let first = bus.group("first").stats().unwrap();
        assert_eq!((first.completed, first.dead_lettered), (900, 100), "{url}");
        let mut numbers = counted.all();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((counted.len(), numbers.len()), (900, 900), "{url}");
        assert_eq!(bus.dead_letters("first").list().await.unwrap().len(), 100);
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn off_waits_for_the_call_in_flight_and_a_later_handler_joins_the_live_group() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let gate = Arc::new(Semaphore::new(0));
        let log = Log::default();
        let first = bus
            .named("first")
            .with((Arc::clone(&gate), log.clone()))
            .on(
                async |(gate, log): (Arc<Semaphore>, Log<&'static str>), _: Step| {
                    gate.acquire().await.unwrap().forget();
                    log.push("first");
                },
            );
        for number in 0..3 {
            bus.emit(step("k", number)).await.unwrap();
        }
        until("one is in flight", || {
            bus.named("x").stats().unwrap().unsettled == 3
        })
        .await;
        let off = tokio::spawn(first.off());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!off.is_finished(), "{url}: a call is in flight");
        gate.add_permits(100);
        off.await.unwrap().unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.all(), ["first"], "{url}");
        assert_eq!(
            bus.named("x").stats().unwrap().skipped,
            2,
            "{url}: queued events of a removed handler"
        );

        bus.named("second")
            .with(log.clone())
            .on(async |log: Log<&'static str>, _: Step| {
                log.push("second");
            });
        bus.emit(step("k", 9)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.all(), ["first", "second"], "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_lacks_is_refused_at_start_with_the_fix() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let moment = Start::At(tidings::Timestamp::from_micros(0));
        for (name, start) in [("late", moment), ("later", Start::Offset(7))] {
            bus.group(name).start_at(start).on(async |_: Step| {});
        }
        let error = bus.start().await.unwrap_err();
        let [late, later] = error.problems() else {
            panic!("{url}: {error}")
        };
        for (problem, group) in [(late, "svc.late"), (later, "svc.later")] {
            assert!(
                problem.contains(group) && problem.contains("replay"),
                "{url}: {problem}"
            );
        }
        let explained = bus.explain();
        assert!(
            explained
                .to_string()
                .contains("transport cannot: retains, replay"),
            "{explained}"
        );
        assert_eq!(explained.problems(), error.problems());
    }
}

/// Contract Y1: without history there is nothing to replay, and a name that nobody has is no group.
#[tokio::test(start_paused = true)]
async fn a_replay_needs_history() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let group = bus.group("projection");
        group.replayable().on(async |_: Step| {});
        let error = group.replay(tidings::From::beginning()).await.unwrap_err();
        assert!(
            matches!(error, ReplayError::Unsupported("memory")),
            "{url}: {error:?}"
        );
    }
}

/// Contract D7: no offset lies before the first.
#[tokio::test(start_paused = true)]
async fn row_85_a_start_before_the_first_offset_is_refused() {
    let bus = Bus::builder("svc").build().await.unwrap();
    bus.group("early")
        .start_at(Start::Offset(-1))
        .on(async |_: Step| {});
    let error = bus.start().await.unwrap_err();
    assert!(
        error.problems()[0].contains("start offset is -1"),
        "{error}"
    );
}

/// Contract D9: one attempt, taken over before; a retry policy of the group's own contradicts that.
#[tokio::test(start_paused = true)]
async fn at_most_once_makes_one_attempt() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        let group = bus.group("texts").at_most_once();
        group.with(log.clone()).on(
            async |log: Log<u32>, step: Delivery<Step>| -> Result<(), tidings::Failure> {
                log.push(step.number);
                match step.number {
                    1 => Err("try again".into()),
                    2 => Err(tidings::rate_limited("busy", Duration::from_secs(1))),
                    _ => Ok(()),
                }
            },
        );
        for number in 0..4 {
            bus.emit(step("k", number)).await.unwrap();
        }
        bus.settled().await.unwrap();
        assert_eq!(log.all(), [0, 1, 2, 3], "{url}");
        let dead = bus.dead_letters("texts").list().await.unwrap();
        assert_eq!(
            dead.len(),
            2,
            "{url}: what failed is not lost without a word"
        );
        let lag = bus.lag().await.unwrap();
        assert_eq!(
            (&*lag[0].group, lag[0].lag.behind()),
            ("svc.texts", 0),
            "{url}"
        );

        bus.group("wrong")
            .at_most_once()
            .retry(tidings::RetryPolicy::exponential().attempts(9))
            .on(async |_: Step| {});
        let error = bus.start().await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("at_most_once makes one attempt"),
            "{url}: {text}"
        );
    }
}
