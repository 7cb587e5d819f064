//! contract: O3, a retry that gives up the order of its key

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tidings::transport::{Headers, Name, Payload, field};
use tidings::{
    AfterDeadLetter, Bus, DedupPolicy, Delivery, Ended, Failure, Group, RetryPolicy, ShutdownError,
    permanent, rate_limited,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::kit::{Log, Step, World, quick, step, until};

fn group(bus: &Bus) -> Group {
    bus.group("g").reordering_retry()
}

/// What the handler saw: the event's number, and of which attempt.
type Seen = Log<(u32, u32)>;

fn saw(log: &Seen, event: &Delivery<Step>) -> usize {
    log.push((event.event().number, event.attempt()))
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_on_while_its_failed_event_waits_aside() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Seen::default();
        group(&bus)
            .with(log.clone())
            .on(async |log: Seen, event: Delivery<Step>| {
                saw(&log, &event);
                match (event.event().number, event.attempt()) {
                    (0, 1 | 2) => Err("again"),
                    _ => Ok(()),
                }
            });
        for number in 0..5 {
            bus.emit(step("k", number)).await.unwrap();
        }
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (0, 2), (0, 3)],
            "{url}"
        );
        let stats = bus.group("g").stats().unwrap();
        assert_eq!((stats.completed, stats.unsettled), (5, 0), "{url}");
        assert!(bus.dead_letters("g").list().await.unwrap().is_empty());
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_never_handled_beside_its_key() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let alone = Arc::new(AtomicBool::new(true));
        let runs = Arc::new(AtomicUsize::new(0));
        let state = (Arc::clone(&alone), Arc::clone(&runs));
        group(&bus).concurrency(8).with(state).on(
            async |(alone, runs): (Arc<AtomicBool>, Arc<AtomicUsize>), event: Delivery<Step>| {
                if runs.fetch_add(1, Ordering::SeqCst) > 0 {
                    alone.store(false, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(7)).await;
                runs.fetch_sub(1, Ordering::SeqCst);
                if event.attempt() == 1 {
                    Err("again")
                } else {
                    Ok(())
                }
            },
        );
        for number in 0..40 {
            bus.emit(step("k", number)).await.unwrap();
        }
        bus.settled().await.unwrap();
        assert!(alone.load(Ordering::SeqCst), "{url}");
        assert_eq!(bus.group("g").stats().unwrap().completed, 40, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_handler_that_failed_sees_it_again_and_completion_waits_for_it() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (failing, other) = (Seen::default(), Seen::default());
        let group = group(&bus);
        group.named("failing").with(failing.clone()).on(
            async |log: Seen, event: Delivery<Step>| {
                if saw(&log, &event) < 3 {
                    Err("again")
                } else {
                    Ok(())
                }
            },
        );
        group
            .named("other")
            .with(other.clone())
            .on(async |log: Seen, event: Delivery<Step>| {
                saw(&log, &event);
            });
        let completion = bus.emit(step("k", 7)).completed().await.unwrap();
        let ended: Vec<_> = completion
            .outcomes
            .iter()
            .map(|outcome| (outcome.handler.as_str(), outcome.ended))
            .collect();
        assert_eq!(
            ended,
            [("other", Ended::Completed), ("failing", Ended::Completed)],
            "{url}"
        );
        assert_eq!(failing.all(), [(7, 1), (7, 2), (7, 3)], "{url}");
        assert_eq!(other.all(), [(7, 1)], "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_and_panics_are_counted_across_the_way_aside() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let policy = quick().attempts(4).panics(2);
        group(&bus)
            .retry(policy)
            .on(async |event: Delivery<Step>| -> Result<(), Failure> {
                match event.event().number {
                    0 => Err(anyhow::anyhow!("broken for good"))?,
                    1 => panic!("broken in two"),
                    _ if event.attempt() > 1 => Err(permanent("not to be")),
                    _ => Err(anyhow::anyhow!("first"))?,
                }
            });
        for number in 0..3 {
            let emit = bus.emit(step("k", number)).header("region", "eu");
            emit.await.unwrap();
        }
        bus.settled().await.unwrap();
        let dead = bus.dead_letters("g").list().await.unwrap();
        let mut found: Vec<_> = dead
            .iter()
            .map(|letter| {
                let event: Step = letter.decode().unwrap();
                (event.number, letter.attempts(), letter.reason())
            })
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [(0, 4, "exhausted"), (1, 2, "panicked"), (2, 2, "permanent")],
            "{url}"
        );
        for letter in &dead {
            assert_eq!(letter.topic(), "step.taken", "{url}");
            assert_eq!(letter.key().unwrap(), "k", "{url}");
            assert_eq!(letter.headers().get_str("region"), Some("eu"), "{url}");
            let failures = (letter.first_failure(), letter.last_failure());
            assert!(failures.0.is_some() && failures.0 <= failures.1, "{url}");
            let of_the_retry = letter.headers().get("tidings-retry-after");
            assert_eq!(of_the_retry, None, "{url}");
        }
    }
}

/// A record as the bus puts it aside, but for what the case changes.
fn put_aside(changed: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in [
        ("tidings-handler", "h"),
        ("tidings-group", "svc.g"),
        ("tidings-topic", "step.taken"),
        ("tidings-attempts", "1"),
        ("tidings-panics", "0"),
        ("tidings-rate-limited", "0"),
        ("tidings-retry-after", "0"),
        ("tidings-last-failure", "2020-01-01T00:00:00Z"),
    ] {
        headers.set(name, value);
    }
    for (name, value) in changed {
        match *value {
            "" => headers.remove(name),
            value => headers.set(*name, value),
        }
    }
    headers
}

async fn inject(world: &World, headers: Headers) {
    use tidings::transport::{Carried, Message, Origin, Transport};
    let mut fields = Headers::new();
    fields.push(field::ID, "evt_1");
    fields.push(field::TYPE, "step.taken");
    fields.push(field::VERSION, "1");
    let message = Message {
        topic: Name::from("svc.g.retry"),
        key: None,
        envelope: Carried::Raw(fields),
        headers,
        payload: Payload::Bytes(br#"{"key":"k","number":1}"#.to_vec().into()),
        delay: None,
    };
    let published = world.memory.publish(message, Origin::default());
    published.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn row_66_a_forged_record_is_dead_lettered_or_held_no_longer_than_any() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Seen::default();
        let policy = quick().rate_limited_total(Duration::from_secs(60));
        group(&bus)
            .dedup(DedupPolicy::off())
            .retry(policy)
            .named("h")
            .with(log.clone())
            .on(async |log: Seen, event: Delivery<Step>| {
                saw(&log, &event);
            });
        let wrong: [&[(&str, &str)]; 5] = [
            &[("tidings-handler", "")],
            &[("tidings-topic", "")],
            &[("tidings-attempts", "-1")],
            &[("tidings-retry-after", "soon")],
            &[("tidings-panics", "1e3")],
        ];
        for changed in wrong {
            inject(&world, put_aside(changed)).await;
        }
        bus.settled().await.unwrap();
        assert!(log.all().is_empty(), "{url}");
        let dead = bus.dead_letters("g").list().await.unwrap();
        let told: Vec<_> = dead
            .iter()
            .map(|letter| (letter.reason(), letter.error()))
            .collect();
        assert_eq!(
            told,
            [
                ("retry", "it has no header tidings-handler"),
                ("retry", "it has no header tidings-topic"),
                (
                    "retry",
                    "its header tidings-attempts is \"-1\": a number is needed"
                ),
                (
                    "retry",
                    "its header tidings-retry-after is \"soon\": a number is needed"
                ),
                (
                    "retry",
                    "its header tidings-panics is \"1e3\": a number is needed"
                ),
            ],
            "{url}"
        );
        let begun = Instant::now();
        let patient = [
            ("tidings-retry-after", "18446744073709551615"),
            ("tidings-last-failure", "9999-12-31T00:00:00Z"),
            ("tidings-attempts", "4294967295"),
        ];
        inject(&world, put_aside(&patient)).await;
        bus.settled().await.unwrap();
        // A forged count leaves one attempt.
        assert_eq!(log.all(), [(1, 3)], "{url}");
        assert!(begun.elapsed() <= Duration::from_secs(61), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_has_retries_wait_in_their_lanes_and_stops_nobody() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        group(&bus)
            .queue(2)
            .window(2)
            .concurrency(2)
            .on(async |event: Delivery<Step>| match event.attempt() {
                1 => Err("again"),
                _ => Ok(()),
            });
        for number in 0..60 {
            let emit = bus.emit(step(format!("k{}", number % 5), number));
            emit.await.unwrap();
        }
        bus.settled().await.unwrap();
        assert_eq!(bus.group("g").stats().unwrap().completed, 60, "{url}");
    }
}

fn patient() -> RetryPolicy {
    let hour = Duration::from_secs(3_600);
    RetryPolicy::exponential().base(hour).cap(hour).attempts(3)
}

#[tokio::test(start_paused = true)]
async fn contract_s2_what_waits_aside_is_tried_at_once_by_a_shutdown() {
    for (url, world) in World::all() {
        for fails_again in [false, true] {
            let bus = world.bus().await;
            let log = Seen::default();
            let state = (log.clone(), fails_again);
            group(&bus)
                .retry(patient())
                .dedup(DedupPolicy::off())
                .with(state)
                .on(
                    async |(log, fails_again): (Seen, bool), event: Delivery<Step>| {
                        saw(&log, &event);
                        match event.attempt() {
                            1 => Err("again"),
                            _ if fails_again => Err("once more"),
                            _ => Ok(()),
                        }
                    },
                );
            let begun = Instant::now();
            bus.emit(step("k", 1)).await.unwrap();
            let aside = || {
                bus.group("g")
                    .stats()
                    .is_some_and(|stats| stats.unsettled == 1)
            };
            until("the event waits aside", || log.len() == 1 && aside()).await;
            let down = bus.shutdown().await;
            assert_eq!(log.all(), [(1, 1), (1, 2)], "{url}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{url}");
            assert_eq!(down.is_ok(), !fails_again, "{url}: {down:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn contract_o2_what_waits_aside_takes_nobody_s_room() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Seen::default();
        let policy = quick().rate_limited_total(Duration::from_secs(600));
        group(&bus)
            .window(16)
            .retry(policy)
            .dedup(DedupPolicy::off())
            .with(log.clone())
            .on(
                async |log: Seen, event: Delivery<Step>| -> Result<(), Failure> {
                    if event.event().key == "busy" {
                        return Err(rate_limited("not now", Duration::from_secs(60)));
                    }
                    saw(&log, &event);
                    Ok(())
                },
            );
        let begun = Instant::now();
        for number in 0..24 {
            bus.emit(step("busy", number)).await.unwrap();
        }
        for number in 0..100 {
            bus.emit(step(format!("k{number}"), number)).await.unwrap();
        }
        until("all others are handled", || log.len() == 100).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{url}");
        // To its end, or the next world would wait for it.
        let _ = bus.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_while_its_handler_is_removed_keeps_nobody_waiting() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (log, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
        let state = (log.clone(), Arc::clone(&gate));
        let subscription = group(&bus)
            .retry(patient())
            .dedup(DedupPolicy::off())
            .with(state)
            .on(
                async |(log, gate): (Seen, Arc<Semaphore>), event: Delivery<Step>| {
                    saw(&log, &event);
                    gate.acquire().await.unwrap().forget();
                    Err::<(), _>("again")
                },
            );
        let emitter = bus.clone();
        let emitted = tokio::spawn(async move { emitter.emit(step("k", 1)).completed().await });
        until("it is handled", || log.len() == 1).await;
        let off = tokio::spawn(subscription.off());
        until("the handler is removed", || !bus.has_handlers::<Step>()).await;
        gate.add_permits(1);
        off.await.unwrap().unwrap();
        let completion = tokio::time::timeout(Duration::from_secs(1), emitted).await;
        assert!(completion.is_ok(), "{url}");
        assert_eq!(log.len(), 1, "{url}");
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_handler_is_removed_meanwhile_is_skipped_and_the_group_ends() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Seen::default();
        let subscription = group(&bus)
            .retry(patient())
            .dedup(DedupPolicy::off())
            .with(log.clone())
            .on(async |log: Seen, event: Delivery<Step>| {
                saw(&log, &event);
                Err::<(), _>("again")
            });
        bus.emit(step("k", 1)).await.unwrap();
        let aside = || {
            bus.group("g")
                .stats()
                .is_some_and(|stats| stats.unsettled == 1)
        };
        until("the event waits aside", || log.len() == 1 && aside()).await;
        subscription.off().await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.len(), 1, "{url}");
        assert!(!bus.has_handlers::<Step>(), "{url}");
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn contract_o4_what_waits_aside_of_a_stopped_group_holds_up_no_shutdown() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Seen::default();
        group(&bus)
            .retry(patient())
            .dedup(DedupPolicy::off())
            .after_dead_letter(AfterDeadLetter::StopGroup)
            .with(log.clone())
            .on(
                async |log: Seen, event: Delivery<Step>| -> Result<(), Failure> {
                    saw(&log, &event);
                    match event.event().number {
                        1 => Err(anyhow::anyhow!("again"))?,
                        _ => Err(permanent("for good")),
                    }
                },
            );
        bus.emit(step("k", 1)).await.unwrap();
        until("it was tried", || log.len() == 1).await;
        bus.emit(step("k", 2)).await.unwrap();
        let stopped = || bus.group("g").stats().is_some_and(|stats| stats.stopped);
        until("the group has stopped", stopped).await;
        let begun = Instant::now();
        let Err(ShutdownError::Unfinished(report)) = bus.shutdown().await else {
            panic!("{url}: one event is left");
        };
        assert_eq!(report.handed_back, 1, "{url}: {report}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{url}");
        assert_eq!(log.all(), [(1, 1), (2, 1)], "{url}");
    }
}

#[tokio::test]
async fn one_attempt_and_another_aside_are_refused_together() {
    let bus = Bus::builder("svc").build().await.unwrap();
    group(&bus).at_most_once().on(async |_: Step| {});
    let error = bus.start().await.unwrap_err().to_string();
    assert!(
        error.contains("at_most_once makes one attempt: leave out `reordering_retry`"),
        "{error}"
    );
}
