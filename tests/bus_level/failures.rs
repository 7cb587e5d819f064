//! contract: R1, R2, R3, M2; house rules 3 and 5

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tidings::{
    Class, Delivery, DeliveryInfo, Failure, Middleware, Next, Outcome, PausePolicy, RetryPolicy,
    async_trait, permanent, rate_limited,
};
use tokio::time::Instant;

use crate::kit::{Log, Step, World, step};

/// What a payment library would have.
#[derive(Debug, thiserror::Error)]
enum PaymentError {
    #[error("card declined")]
    Declined,
    #[error("gateway busy")]
    Busy,
}

#[tokio::test(start_paused = true)]
async fn a_thiserror_enum_is_classified_by_its_group() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let calls = Log::default();
        bus.group("g")
            .classify(|error: &PaymentError| match error {
                PaymentError::Declined => Some(Class::Permanent),
                PaymentError::Busy => None,
            })
            .with(calls.clone())
            .on(async |calls: Log<u32>, event: Step| {
                calls.push(event.number);
                Err::<(), _>(if event.number == 1 {
                    PaymentError::Declined
                } else {
                    PaymentError::Busy
                })
            });
        bus.emit(step("a", 1)).await.unwrap();
        bus.emit(step("b", 2)).await.unwrap();
        bus.settled().await.unwrap();
        let tries = |number| calls.all().iter().filter(|n| **n == number).count();
        assert_eq!((tries(1), tries(2)), (1, 3), "{url}");
        let dead = bus.dead_letters("g").list().await.unwrap();
        let reasons: Vec<_> = dead.iter().map(|d| (d.reason(), d.error())).collect();
        assert_eq!(
            reasons,
            [
                ("permanent", "card declined"),
                ("exhausted", "gateway busy")
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn anyhow_is_transient_and_can_be_looked_into() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let calls = Log::default();
        bus.group("g")
            .classify(|error: &anyhow::Error| {
                error
                    .downcast_ref::<PaymentError>()
                    .map(|error| match error {
                        PaymentError::Declined => Class::Permanent,
                        PaymentError::Busy => Class::Transient,
                    })
            })
            .with(calls.clone())
            .on(async |calls: Log<u32>, event: Step| -> anyhow::Result<()> {
                calls.push(event.number);
                let error = if event.number == 1 {
                    PaymentError::Declined
                } else {
                    PaymentError::Busy
                };
                Err(anyhow::Error::new(error).context("charging"))
            });
        bus.emit(step("a", 1)).await.unwrap();
        bus.emit(step("b", 2)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(calls.len(), 4, "{url}: one try, and three");
        let dead = bus.dead_letters("g").list().await.unwrap();
        assert_eq!(
            dead[0].error(),
            "charging: card declined",
            "{url}: the whole chain"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_return_type_classifies() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let calls = Log::default();
        bus.with(calls.clone()).on(
            async |calls: Log<u32>, event: Step| -> Result<(), Failure> {
                calls.push(event.number);
                if event.number == 1 {
                    "x".parse::<u32>().map_err(permanent)?;
                }
                "y".parse::<u32>()?;
                Ok(())
            },
        );
        bus.emit(step("a", 1)).await.unwrap();
        bus.emit(step("b", 2)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(calls.len(), 4, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limits_cost_no_attempt_until_fifteen_minutes() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let calls = Log::default();
        bus.with(calls.clone())
            .on(async |calls: Log<u32>, event: Delivery<Step>| {
                calls.push(event.attempt());
                Err::<(), _>(rate_limited("slow down", Duration::from_secs(60)))
            });
        let begun = Instant::now();
        bus.emit(step("a", 1)).await.unwrap();
        bus.settled().await.unwrap();
        assert!(
            calls.all().iter().all(|attempt| *attempt == 1),
            "{url}: {:?}",
            calls.all()
        );
        assert_eq!(calls.len(), 16, "{url}: fifteen waits of a minute");
        assert!(begun.elapsed() >= Duration::from_secs(15 * 60));
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!(dead[0].reason(), "rate_limited");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_at_most_three_are_made() {
    for (url, world) in World::all() {
        let bus = world
            .builder()
            .retry(RetryPolicy::exponential())
            .build()
            .await
            .unwrap();
        let calls = Log::default();
        bus.with(calls.clone())
            .on(async |calls: Log<u32>, event: Step| {
                calls.push(event.number);
                assert!(event.number != 1, "cannot handle one");
            });
        bus.emit(step("a", 1)).await.unwrap();
        bus.emit(step("a", 2)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(
            calls.all(),
            [1, 1, 1, 2],
            "{url}: the consumer lives, the order holds"
        );
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!((dead.len(), dead[0].reason()), (1, "panicked"));
        assert!(
            dead[0].error().contains("cannot handle one"),
            "{}",
            dead[0].error()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_per_attempt_and_cancels() {
    for (url, world) in World::all() {
        let bus = world
            .builder()
            .deadline(Duration::from_secs(2))
            .build()
            .await
            .unwrap();
        struct Noted(Log<&'static str>);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.push("dropped");
            }
        }
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<&'static str>, _: Step| {
                log.push("begun");
                let _noted = Noted(log);
                std::future::pending::<()>().await;
            });
        let begun = Instant::now();
        bus.emit(step("a", 1)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(log.all(), ["begun", "dropped"].repeat(3), "{url}");
        assert!(begun.elapsed() >= Duration::from_secs(6));
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!(dead[0].reason(), "timed_out");
        assert!(dead[0].error().contains("2s"), "{}", dead[0].error());
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_event_fail_independently() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.named("good")
            .with(log.clone())
            .on(async |log: Log<String>, e: Delivery<Step>| {
                log.push(format!("good {} {}", e.number, e.attempt()));
            });
        bus.named("bad")
            .with(log.clone())
            .on(async |log: Log<String>, e: Delivery<Step>| {
                log.push(format!("bad {} {}", e.number, e.attempt()));
                if e.number == 0 { Err("never") } else { Ok(()) }
            });
        bus.emit(step("k", 0)).await.unwrap();
        bus.emit(step("k", 1)).await.unwrap();
        bus.settled().await.unwrap();
        assert_eq!(
            log.all(),
            [
                "good 0 1", "bad 0 1", "bad 0 2", "bad 0 3", "good 1 1", "bad 1 1"
            ],
            "{url}: the key's next event starts when every handler is final"
        );
        let dead = bus.dead_letters("svc").list().await.unwrap();
        assert_eq!((dead.len(), dead[0].handler()), (1, "bad"));
    }
}

/// Fault F42: everything fails, then the dependency comes back.
#[tokio::test(start_paused = true)]
async fn a_group_whose_events_all_fail_pauses_and_resumes() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let (down, calls) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicUsize::new(0)),
        );
        bus.group("g")
            .pause(PausePolicy::default())
            .with((Arc::clone(&down), Arc::clone(&calls)))
            .on(
                async |(down, calls): (Arc<AtomicBool>, Arc<AtomicUsize>), _: Step| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    if down.load(Ordering::SeqCst) {
                        Err("down")
                    } else {
                        Ok(())
                    }
                },
            );
        for number in 0..500 {
            bus.emit(step(number.to_string(), number)).await.unwrap();
        }
        let outage = Duration::from_secs(600);
        let settled = tokio::time::timeout(outage, bus.settled()).await;
        assert!(settled.is_err(), "{url}: a paused group keeps its events");
        let dead = bus.dead_letters("g").list().await.unwrap().len();
        assert!(
            (19..=60).contains(&dead),
            "{url}: {dead} dead letters in an outage of 500 events"
        );
        let during = calls.load(Ordering::SeqCst);
        assert!(during < 1_500, "{url}: {during} calls: probes, not a flood");
        down.store(false, Ordering::SeqCst);
        bus.settled().await.unwrap();
        let stats = bus.group("g").stats().unwrap();
        assert_eq!(
            stats.completed as usize + dead,
            500,
            "{url}: every event has one final state"
        );
        assert_eq!(bus.dead_letters("g").list().await.unwrap().len(), dead);
    }
}

struct Note(&'static str, Log<String>);

#[async_trait]
impl Middleware for Note {
    async fn handle(&self, delivery: &DeliveryInfo, next: Next<'_>) -> Outcome {
        self.1.push(format!("{} in {}", self.0, delivery.attempt()));
        let outcome = next.run().await;
        self.1.push(format!("{} out", self.0));
        outcome
    }
}

#[tokio::test(start_paused = true)]
async fn middleware_runs_per_attempt_bus_outside_group() {
    for (url, world) in World::all() {
        let log = Log::default();
        let bus = world
            .builder()
            .around_handlers(Note("bus", log.clone()))
            .build()
            .await
            .unwrap();
        bus.group("g")
            .around_handlers(Note("group", log.clone()))
            .with(log.clone())
            .on(async |log: Log<String>, event: Delivery<Step>| {
                log.push(String::from("handler"));
                if event.attempt() == 1 {
                    Err("once")
                } else {
                    Ok(())
                }
            });
        bus.emit(step("k", 1)).await.unwrap();
        bus.settled().await.unwrap();
        let attempt = |n: u32| {
            [
                format!("bus in {n}"),
                format!("group in {n}"),
                "handler".into(),
                "group out".into(),
                "bus out".into(),
            ]
        };
        assert_eq!(log.all(), [attempt(1), attempt(2)].concat(), "{url}");
    }
}
