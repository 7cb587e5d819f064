//! Replays on a real Kafka: contract Y1, Y2.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::transport::ErrorKind;
use tidings::{
    AfterDeadLetter, AnyEvent, Bus, Delivery, Event, Group, Reason, ReplayError, RetryPolicy,
    Start, Timestamp, permanent,
};
use tidings_conformance::{Broker, Trials};
use tokio::sync::Notify;

#[allow(dead_code, reason = "the example is a program of its own")]
#[path = "../examples/replay.rs"]
mod example;

fn main() -> ExitCode {
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .trial("a_replay_hands_over_the_same_and_moves_nobody", same)
        .trial("only_replayable_handlers_see_it", marked)
        .trial("a_replay_reads_all_topics_of_a_pattern", patterns)
        .trial("a_handler_publishes_nothing_unless_allowed", mute)
        .trial("what_fails_replaces_its_dead_letter", fails)
        .trial("row_85_a_range_that_is_none_is_refused", ranges)
        .trial("a_shutdown_ends_a_replay", ends)
        .trial("a_replay_makes_no_group_and_says_nothing_of_one", apart)
        .trial("a_handler_that_is_off_is_not_replayed", off)
        .trial("a_group_that_stops_ends_its_replay", stops)
        .trial("a_stopped_replay_is_over_and_another_may_begin", stopped)
        .trial("the_example_comes_to_the_same_state_twice", rebuilt)
        .main()
}

/// A service that no other run has, so that its groups are new.
fn unique(what: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    format!("{what}-{}-{}", since.as_micros(), std::process::id())
}

async fn bus(url: &str, what: &str) -> Bus {
    let kafka = Kafka::new(url.trim_start_matches("kafka://")).partitions(3);
    Bus::builder(unique(what))
        .transport(kafka)
        .build()
        .await
        .unwrap()
}

/// From before what this trial emits: the topics have been used before.
fn now() -> tidings::From {
    tidings::From::timestamp(Timestamp::now())
}

type Log<T> = Arc<Mutex<Vec<T>>>;

fn sorted<T: Clone + Ord>(log: &Log<T>) -> Vec<T> {
    let mut seen = log.lock().unwrap().clone();
    seen.sort();
    seen
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.counted", version = 1, key = key)]
struct Counted {
    key: String,
    number: u32,
}

/// Key, number, id, time, version, place of a delivery.
type Seen = (String, u32, String, Option<Timestamp>, u32, usize);

fn readers(bus: &Bus, name: &str) -> (Group, Log<Seen>) {
    let group = bus.group(name.to_owned()).start_at(Start::Latest);
    let log = Log::<Seen>::default();
    group.replayable().with(Arc::clone(&log)).on(
        async |log: Log<Seen>, event: Delivery<Counted>| {
            let mut log = log.lock().unwrap();
            let place = log.iter().filter(|it| it.0 == event.key).count();
            log.push((
                event.key.clone(),
                event.number,
                event.id().to_string(),
                event.time(),
                event.version(),
                place,
            ));
        },
    );
    (group, log)
}

async fn emit(bus: &Bus, count: u32) {
    let events = (0..count).map(|number| Counted {
        key: format!("k{}", number % 7),
        number,
    });
    for emitted in bus.emit_all(events).await {
        emitted.unwrap();
    }
}

/// contract: Y1
async fn same(url: String) {
    let bus = bus(&url, "same").await;
    let (group, log) = readers(&bus, "readers");
    let from = now();
    bus.start().await.unwrap();
    emit(&bus, 100).await;
    bus.settled().await.unwrap();
    let live: Vec<Seen> = sorted(&log).into_iter().collect();
    let (stats, lag) = (group.stats().unwrap(), bus.lag().await.unwrap());
    for _ in 0..2 {
        log.lock().unwrap().clear();
        let replay = group.replay(from).await.unwrap();
        // Other trials write to the topic too, but not with these ids.
        assert!(replay.total() >= 100);
        let again = replay.finished().await.unwrap();
        assert!(again.completed >= 100, "{again:?}");
        let mine: Vec<Seen> = {
            let ids: Vec<String> = live.iter().map(|it| it.2.clone()).collect();
            sorted(&log)
                .into_iter()
                .filter(|it| ids.contains(&it.2))
                .collect()
        };
        let history = |seen: &[Seen]| {
            let each = seen.iter();
            each.map(|it| (it.0.clone(), it.1, it.2.clone(), it.3, it.4))
                .collect::<Vec<_>>()
        };
        assert_eq!(history(&mine), history(&live));
        assert_eq!(order(&mine), order(&live), "the order of each key");
    }
    assert_eq!(
        group.stats().unwrap().duplicates,
        stats.duplicates,
        "the live group"
    );
    let settled = |lags: &[tidings::GroupLag]| {
        let each = lags.iter().map(|it| it.lag.settled);
        each.sum::<u64>()
    };
    assert!(settled(&bus.lag().await.unwrap()) >= settled(&lag));
    bus.shutdown().await.unwrap();
}

/// The numbers of each key in the order of their deliveries.
fn order(seen: &[Seen]) -> Vec<(String, Vec<u32>)> {
    let mut keys: Vec<String> = seen.iter().map(|it| it.0.clone()).collect();
    keys.dedup();
    let numbers = |key: String| {
        let mut of_key: Vec<&Seen> = seen.iter().filter(|it| it.0 == key).collect();
        of_key.sort_by_key(|it| it.5);
        (key, of_key.iter().map(|it| it.1).collect())
    };
    keys.into_iter().map(numbers).collect()
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.marked", version = 1, key = key)]
struct Marked {
    key: String,
}

/// contract: Y2
async fn marked(url: String) {
    let bus = bus(&url, "marked").await;
    let group = bus.group("readers");
    let (projects, mails) = (Log::<String>::default(), Log::<String>::default());
    let note = async |log: Log<String>, event: Marked| log.lock().unwrap().push(event.key);
    group
        .replayable()
        .with(Arc::clone(&projects))
        .named("projects")
        .on(note);
    group.with(Arc::clone(&mails)).named("mails").on(note);
    let from = now();
    let key = unique("k");
    bus.emit(Marked { key: key.clone() }).await.unwrap();
    // Before the live group has begun, and without it.
    group.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(sorted(&projects), std::slice::from_ref(&key));
    assert!(sorted(&mails).is_empty());
    bus.start().await.unwrap();
    bus.settled().await.unwrap();
    assert!(sorted(&mails).contains(&key));
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.patterns.one", version = 1, key = key)]
struct One {
    key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.patterns.two", version = 1, key = key)]
struct Two {
    key: String,
}

/// Both topics have the same partitions, and each comes to its own end.
async fn patterns(url: String) {
    let bus = bus(&url, "patterns").await;
    let group = bus.group("audit");
    let names = Log::<String>::default();
    let heard = Arc::clone(&names);
    group
        .replayable()
        .on_pattern("replay.patterns.*", move |event: AnyEvent| {
            heard.lock().unwrap().push(event.name().to_owned());
            async {}
        });
    let from = now();
    for number in 0..30 {
        let key = format!("k{number}");
        bus.emit(One { key: key.clone() }).await.unwrap();
        if number % 3 == 0 {
            bus.emit(Two { key }).await.unwrap();
        }
    }
    let stats = group.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(stats.completed, 40);
    let ones = sorted(&names)
        .iter()
        .filter(|it| it.ends_with("one"))
        .count();
    assert_eq!(ones, 30);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.cause", version = 1, key = key)]
struct Cause {
    key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.effect", version = 1, key = key)]
struct Effect {
    key: String,
}

/// contract: Y2
async fn mute(url: String) {
    let bus = bus(&url, "mute").await;
    let refused = Arc::new(AtomicUsize::new(0));
    let emits = |group: Group| {
        let state = (bus.clone(), Arc::clone(&refused));
        group
            .replayable()
            .with(state)
            .on(async |state: (Bus, Arc<AtomicUsize>), event: Cause| {
                let (bus, refused) = state;
                let emitted = bus.emit(Effect { key: event.key }).await;
                if emitted.is_err_and(|error| matches!(error.reason(), Reason::Replay)) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        group
    };
    let quiet = emits(bus.group("quiet"));
    let loud = emits(bus.group("loud").emits_in_replay());
    let from = now();
    let key = unique("k");
    bus.emit(Cause { key }).await.unwrap();
    quiet.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(refused.load(Ordering::Relaxed), 1);
    loud.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(refused.load(Ordering::Relaxed), 1, "allowed by name");
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.poison", version = 1, key = key)]
struct Poison {
    key: String,
}

async fn fails(url: String) {
    let bus = bus(&url, "fails").await;
    let key = unique("k");
    let poison = key.clone();
    let group = bus.group("readers").retry(RetryPolicy::none());
    group.replayable().on(move |event: Poison| {
        let poison = poison.clone();
        async move {
            match event.key == poison {
                true => Err(permanent(std::io::Error::other("poison"))),
                false => Ok(()),
            }
        }
    });
    let from = now();
    bus.start().await.unwrap();
    bus.emit(Poison { key }).await.unwrap();
    bus.settled().await.unwrap();
    let before = bus.dead_letters("readers").list().await.unwrap();
    let stats = group.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(stats.dead_lettered, 1);
    let after = bus.dead_letters("readers").list().await.unwrap();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0].id(), after[0].id());
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.ranged", version = 1)]
struct Ranged {}

async fn ranges(url: String) {
    let bus = bus(&url, "ranges").await;
    let group = bus.group("readers");
    let nobody = group.replay(tidings::From::beginning()).await.unwrap_err();
    assert!(nobody.to_string().contains(".replayable()"), "{nobody}");
    group.replayable().on(async |_: Ranged| {});
    bus.emit(Ranged {}).await.unwrap();

    let (early, late) = (
        Timestamp::from_micros(1_000_000),
        Timestamp::from_micros(2_000_000),
    );
    let far = Timestamp::from(SystemTime::now() + Duration::from_secs(3_600));
    for (from, says) in [
        (tidings::From::timestamp(late).until(early), "no range"),
        (tidings::From::timestamp(early).until(early), "no range"),
        (tidings::From::timestamp(far), "future"),
        (tidings::From::beginning().until(far), "future"),
        (tidings::From::offset(-1), "offset -1"),
    ] {
        let error = group.replay(from).await.unwrap_err();
        assert!(matches!(error, ReplayError::Range(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let unknown = group.replay(tidings::From::offset(1 << 40)).await;
    let Err(ReplayError::Transport(error)) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("future"), "{error}");
    // None of them is in the way.
    let before_all = tidings::From::timestamp(early).until(late);
    let stats = group.replay(before_all).await.unwrap().finished().await;
    assert_eq!(stats.unwrap().completed, 0);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.slow", version = 1, key = key)]
struct Slow {
    key: String,
}

/// A replay whose handler has begun, and waits to be let go.
async fn stuck(bus: &Bus) -> (Group, tidings::From, Arc<(Notify, Notify)>) {
    let group = bus.group("readers");
    let gate = Arc::new((Notify::new(), Notify::new()));
    let mine = unique("k");
    let state = (Arc::clone(&gate), mine.clone());
    group.replayable().with(state).on(
        async |(gate, mine): (Arc<(Notify, Notify)>, String), event: Slow| {
            // Other trials write to the topic too.
            if event.key == mine {
                gate.0.notify_one();
                gate.1.notified().await;
            }
        },
    );
    let from = now();
    bus.emit(Slow { key: mine }).await.unwrap();
    (group, from, gate)
}

/// contract: S1
async fn ends(url: String) {
    let bus = bus(&url, "ends").await;
    let (group, from, gate) = stuck(&bus).await;
    let replay = group.replay(from).await.unwrap();
    gate.0.notified().await;
    let finished = tokio::spawn(replay.finished());
    let closing = tokio::spawn({
        let bus = bus.clone();
        async move { bus.shutdown().await }
    });
    gate.1.notify_one();
    closing.await.unwrap().unwrap();
    let finished = finished.await.unwrap();
    assert!(
        matches!(finished, Err(ReplayError::Stopped)),
        "{finished:?}"
    );
    let late = group.replay(from).await;
    assert!(matches!(late, Err(ReplayError::Stopped)), "{late:?}");
}

async fn stopped(url: String) {
    let bus = bus(&url, "dropped").await;
    let (group, from, gate) = stuck(&bus).await;
    let replay = group.replay(from).await.unwrap();
    gate.0.notified().await;
    let second = group.replay(from).await;
    assert!(matches!(second, Err(ReplayError::Running(_))), "{second:?}");
    let progress = replay.progress().await.unwrap();
    assert!(progress.done < progress.total, "{progress:?}");
    gate.1.notify_one();
    let stats = replay.stop().await;
    assert_eq!(stats.unsettled, 0, "{stats:?}");
    let replay = group.replay(from).await.unwrap();
    gate.0.notified().await;
    gate.1.notify_one();
    replay.finished().await.unwrap();
    bus.shutdown().await.unwrap();
}

/// contract: Y1
async fn apart(url: String) {
    let bus = bus(&url, "apart").await;
    let group = bus.group("readers").start_at(Start::Latest);
    let seen = Arc::new(AtomicUsize::new(0));
    let counts = async |seen: Arc<AtomicUsize>, _: Apart| {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    group
        .replayable()
        .with(Arc::clone(&seen))
        .named("counts")
        .on(counts);
    let from = now();
    bus.emit(Apart {}).await.unwrap();
    group.replay(from).await.unwrap().finished().await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    // The group does not exist: there is nothing for it to settle, and it starts with what is
    // published from its own start on.
    bus.settled().await.unwrap();
    bus.emit(Apart {}).await.unwrap();
    bus.start().await.unwrap();
    bus.emit(Apart {}).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 2, "one replayed, one live");
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.apart", version = 1)]
struct Apart {}

/// House rule 8.
async fn off(url: String) {
    let bus = bus(&url, "off").await;
    let group = bus.group("readers");
    let (begun, ends) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let key = unique("k");
    let state = (
        Arc::clone(&begun),
        Arc::clone(&ends),
        Arc::clone(&calls),
        key.clone(),
    );
    let off = group.replayable().with(state).on(
        async |(begun, ends, calls, key): (Arc<Notify>, Arc<Notify>, Arc<AtomicUsize>, String),
               event: Slow| {
            if event.key == key {
                calls.fetch_add(1, Ordering::Relaxed);
                begun.notify_one();
                ends.notified().await;
            }
        },
    );
    let from = now();
    for _ in 0..3 {
        bus.emit(Slow { key: key.clone() }).await.unwrap();
    }
    let replay = group.replay(from).await.unwrap();
    begun.notified().await;
    ends.notify_one();
    off.off().await.unwrap();
    let handled = calls.load(Ordering::Relaxed);
    assert!(handled < 3, "{handled}");
    replay.finished().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), handled);
}

/// contract: O4
async fn stops(url: String) {
    let bus = bus(&url, "stops").await;
    let group = bus
        .group("readers")
        .retry(RetryPolicy::none())
        .after_dead_letter(AfterDeadLetter::StopGroup);
    group
        .replayable()
        .on(async |_: Stops| Err(permanent(std::io::Error::other("no"))));
    let from = now();
    for _ in 0..3 {
        bus.emit(Stops {}).await.unwrap();
    }
    let ended = group.replay(from).await.unwrap().finished().await;
    assert!(matches!(ended, Err(ReplayError::Stopped)), "{ended:?}");
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "replay.stops", version = 1)]
struct Stops {}

async fn rebuilt(url: String) {
    let mut out = Vec::new();
    example::run(&url, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let states: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(": state ").map(|it| it.1))
        .collect();
    let [first, second] = states[..] else {
        panic!("{text}");
    };
    assert_eq!(first, second, "{text}");
    assert!(text.contains(", 0 failed"), "{text}");
    assert!(text.ends_with("the same state twice\n"), "{text}");
}
