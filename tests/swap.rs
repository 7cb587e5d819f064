//! The same program over every transport, with a restart in the middle: the same final states, the
//! same order per key, the same dead letters.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "swap/story.rs"]
mod story;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use story::{Diary, History};
use tidings::memory::Memory;
use tidings::{Bus, BusBuilder, ShutdownError};
use tidings_conformance::{Broker, Trials};

fn main() -> ExitCode {
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .always("memory_that_encodes_has_the_same_history", || async {
            let (plain, encoded) = (Memory::new(), Memory::new().encoded(true));
            let expected = run(|| on(plain.clone())).await;
            check(&expected);
            assert_eq!(run(|| on(encoded.clone())).await, expected);
        })
        .trial("kafka_has_the_same_history", async |url| {
            let memory = Memory::new();
            let expected = run(|| on(memory.clone())).await;
            let servers = url.trim_start_matches("kafka://").to_owned();
            let kafka = || on(tidings::kafka::Kafka::new(&servers).partitions(3));
            assert_eq!(run(kafka).await, expected);
        })
        .main()
}

fn on(transport: impl tidings::transport::DynTransport) -> BusBuilder {
    static RUN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    // A service of its own in each run of this program: its groups are new.
    let service = RUN.get_or_init(|| {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        format!("swap-{}-{}", since.as_millis(), std::process::id())
    });
    Bus::builder(service.as_str())
        .transport(transport)
        .drain(Duration::from_secs(10))
}

/// Runs the program, ends it while it has work, and goes on in another process' place.
async fn run(open: impl Fn() -> BusBuilder) -> History {
    let diary = Diary::new();
    let bus = open().build().await.unwrap();
    story::register(&bus, &diary);
    bus.start().await.unwrap();
    story::emit(&bus, 0..story::STEPS / 2).await;
    diary.reaches(50).await;
    match bus.shutdown().await {
        // What was in backoff is handed back.
        Ok(_) | Err(ShutdownError::Unfinished(_)) => {}
        Err(error) => panic!("{error}"),
    }

    let bus = open().build().await.unwrap();
    story::register(&bus, &diary);
    bus.start().await.unwrap();
    story::emit(&bus, story::STEPS / 2..story::STEPS).await;
    bus.settled().await.unwrap();
    let history = story::history(&bus, &diary).await;
    bus.shutdown().await.unwrap();
    history
}

/// The history is not an empty one, and in order.
fn check(history: &History) {
    let handlers: std::collections::BTreeSet<_> = history
        .handled
        .keys()
        .map(|(handler, _)| *handler)
        .collect();
    assert_eq!(
        handlers.into_iter().collect::<Vec<_>>(),
        ["count", "walk", "watch"]
    );
    for ((handler, key), numbers) in &history.handled {
        assert!(numbers.is_sorted(), "{handler} {key}: {numbers:?}");
    }
    let total = |handler: &str| -> usize {
        let of = history.handled.iter().filter(|((it, _), _)| *it == handler);
        of.map(|(_, numbers)| numbers.len()).sum()
    };
    let walked = total("walk");
    assert_eq!(walked + history.dead.len(), story::STEPS as usize);
    assert_eq!(
        (total("count"), total("watch")),
        (walked, story::STEPS as usize)
    );
    assert_eq!(history.dead.len(), 25);
}
