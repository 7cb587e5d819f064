//! contract: O3, retries by way of `<group>.retry`

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::transport::{
    Carried, Headers, Message, Name, Origin, Payload, Topology, Transport, field,
};
use tidings::{AnyEvent, Bus, DedupPolicy, Delivery, Event, Group, RetryPolicy, Start};

use crate::{Log, builder, generous, kafka, seen, unique};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.aside", version = 1, key = key)]
struct Aside {
    key: String,
    number: u32,
}

fn event(number: u32) -> Aside {
    let key = String::from("k");
    Aside { key, number }
}

/// What the handler saw: the event's number, and of which attempt.
type Seen = Log<(u32, u32)>;

/// A group that waits for an hour after a failure, or until it is shut down.
fn group(bus: &Bus) -> Group {
    let hour = Duration::from_secs(3_600);
    bus.group("readers")
        .start_at(Start::Latest)
        .retry(RetryPolicy::exponential().base(hour).cap(hour))
        .dedup(DedupPolicy::off())
        .reordering_retry()
}

/// Waits until so many events are held by the group.
async fn held(bus: &Bus, count: usize) {
    let held = || bus.group("readers").stats().map(|stats| stats.unsettled);
    let wait = async {
        while held() != Some(count) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "{:?} are held instead of {count}", held());
}

pub(crate) async fn outlives(url: String) {
    let service = unique("aside");
    let mut logs = Vec::new();
    for fails in [true, false] {
        let builder = Bus::builder(service.clone()).transport(kafka(&url));
        let bus = builder.build().await.unwrap();
        let log = Seen::default();
        group(&bus).with((Arc::clone(&log), fails)).on(
            async |(log, fails): (Seen, bool), delivery: Delivery<Aside>| {
                let number = delivery.event().number;
                log.lock().unwrap().push((number, delivery.attempt()));
                match fails && number == 0 {
                    true => Err("again"),
                    false => Ok(()),
                }
            },
        );
        bus.start().await.unwrap();
        if fails {
            bus.emit(event(0)).await.unwrap();
            bus.emit(event(1)).await.unwrap();
        }
        held(&bus, 1).await;
        // What waits is tried at once, and what fails is handed back.
        assert_eq!(bus.shutdown().await.is_err(), fails);
        logs.push(seen(&log));
    }
    // Its key went on meanwhile.
    assert_eq!(logs[0], [(0, 1), (1, 1), (0, 2)]);
    assert_eq!(logs[1], [(0, 2)]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.headed", version = 1, key = key)]
struct Headed {
    key: String,
}

/// With more headers than our own producer may write.
pub(crate) async fn in_its_lane(url: String) {
    let generous = generous(&url, Headed::NAME).await;
    let bus = builder(&url, "in-its-lane").build().await.unwrap();
    let log = Seen::default();
    bus.group("readers")
        .start_at(Start::Latest)
        .reordering_retry()
        .with(Arc::clone(&log))
        .on(async |log: Seen, delivery: Delivery<Headed>| {
            log.lock().unwrap().push((0, delivery.attempt()));
            match delivery.attempt() {
                1 => Err("again"),
                _ => Ok(()),
            }
        });
    bus.start().await.unwrap();
    let mut message = Message {
        topic: Name::from(Headed::NAME),
        key: Some("k".into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes(br#"{"key":"k"}"#.as_slice().into()),
        delay: None,
    };
    message.headers.push("region", "x".repeat(30 * 1024));
    generous.publish(message, Origin::default()).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [(0, 1), (0, 2)]);
    let lags = bus.lag().await.unwrap();
    let aside = lags.iter().filter(|of| of.lag.topic.ends_with(".retry"));
    assert_eq!(
        aside.map(|of| of.lag.end).sum::<u64>(),
        0,
        "nothing is there"
    );
    bus.shutdown().await.unwrap();
}

pub(crate) async fn by_pattern(url: String) {
    let names = [unique("kafka.pattern.a"), unique("kafka.pattern.b")];
    let mut all = Vec::new();
    for name in &names {
        let bus = builder(&url, "by-pattern").build().await.unwrap();
        let log = Log::<(String, u32)>::default();
        let by_hand = Arc::clone(&log);
        // Earlier runs left theirs.
        let run = names[0].clone();
        // By its name this group's retries match the other's pattern.
        bus.group(name.clone())
            .exact()
            .reordering_retry()
            .on_pattern("kafka.pattern.#", move |event: AnyEvent| {
                let is_mine = event.key() == Some(&*run);
                let entry = (event.topic().to_owned(), event.attempt());
                if is_mine {
                    by_hand.lock().unwrap().push(entry);
                }
                async move {
                    match event.attempt() {
                        1 if is_mine => Err("again"),
                        _ => Ok(()),
                    }
                }
            });
        bus.start().await.unwrap();
        all.push((bus, log));
    }
    let (bus, _) = &all[0];
    let emit = bus.emit(Followed { number: 7 }).key(names[0].clone());
    emit.await.unwrap();
    for ((bus, log), name) in all.iter().zip(&names) {
        bus.settled().await.unwrap();
        let topic = String::from("kafka.pattern.followed");
        assert_eq!(seen(log), [(topic.clone(), 1), (topic, 2)], "{name}");
        assert_eq!(
            bus.group(name.clone())
                .exact()
                .stats()
                .unwrap()
                .dead_lettered,
            0
        );
    }
    for (bus, _) in all {
        bus.shutdown().await.unwrap();
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.pattern.followed", version = 1)]
struct Followed {
    number: u32,
}

pub(crate) async fn from_the_beginning(url: String) {
    let service = unique("aside-first");
    let topic = Name::from(format!("{service}.readers.retry"));
    let transport = kafka(&url);
    let topology = Topology {
        topics: vec![topic.clone()],
        ..Topology::default()
    };
    transport.declare(&topology).await.unwrap();
    let mut fields = Headers::new();
    fields.push(field::ID, "evt_1");
    fields.push(field::TYPE, "kafka.aside");
    fields.push(field::VERSION, "1");
    let mut headers = Headers::new();
    for (name, value) in [
        ("tidings-handler", "reader"),
        ("tidings-topic", "kafka.aside"),
        ("tidings-attempts", "1"),
        ("tidings-panics", "0"),
        ("tidings-rate-limited", "0"),
        ("tidings-retry-after", "0"),
    ] {
        headers.set(name, value);
    }
    let message = Message {
        topic,
        key: None,
        envelope: Carried::Raw(fields),
        headers,
        payload: Payload::Bytes(br#"{"key":"k","number":3}"#.as_slice().into()),
        delay: None,
    };
    transport.publish(message, Origin::default()).await.unwrap();

    let builder = Bus::builder(service).transport(transport);
    let bus = builder.build().await.unwrap();
    let log = Seen::default();
    group(&bus).named("reader").with(Arc::clone(&log)).on(
        async |log: Seen, delivery: Delivery<Aside>| {
            let entry = (delivery.event().number, delivery.attempt());
            log.lock().unwrap().push(entry);
        },
    );
    bus.start().await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [(3, 2)]);
    bus.shutdown().await.unwrap();
}
