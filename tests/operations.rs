//! The tables of `docs/operations.md` are those of the code: a default that changes without its
//! row fails here, and so does a row about nothing.
#![cfg(all(feature = "json", feature = "derive"))]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tidings::memory::MemoryConfig;
use tidings::transport::{Message, PublishError, Receipt};
use tidings::{
    Body, Bus, DecodeErrorKind, DedupPolicy, Delivery, Event, Lagged, Middleware, NextPublish,
    PausePolicy, RetryPolicy, async_trait,
};
use tokio::time::Instant;

const PAGE: &str = include_str!("../docs/operations.md");

#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(name = "tick.happened", version = 1)]
struct Tick(u32);

#[tokio::test(start_paused = true)]
async fn every_default_is_the_one_of_the_code() {
    let documented: BTreeMap<String, String> = table("Defaults")
        .into_iter()
        .map(|row| (row[0].clone(), in_words(&row[1], &row[2])))
        .collect();
    let mut actual = of_the_bus().await;
    actual.extend(of_the_policies());
    actual.extend(of_the_memory());
    actual.extend(seen_at_work().await);
    assert_eq!(documented, actual);
}

#[cfg(feature = "kafka")]
#[test]
fn every_default_of_kafka_is_the_one_of_the_code() {
    let documented: BTreeMap<String, String> = table("Kafka")
        .into_iter()
        .map(|row| {
            (
                row[0].trim_matches('`').to_owned(),
                in_words(&row[1], &row[2]),
            )
        })
        .collect();
    let kafka = tidings::kafka::KafkaConfig::default();
    let actual = named([
        (
            "connect_timeout",
            time(&format!("{:?}", kafka.connect_timeout)),
        ),
        (
            "publish_deadline",
            time(&format!("{:?}", kafka.publish_deadline)),
        ),
        ("linger", time(&format!("{:?}", kafka.linger))),
        ("buffered_messages", kafka.buffered_messages.to_string()),
        ("buffered_kib", kafka.buffered_kib.to_string()),
        (
            "compression",
            format!("{:?}", kafka.compression).to_lowercase(),
        ),
        ("partitions", kafka.partitions.to_string()),
        (
            "replication",
            kafka
                .replication
                .map_or("the broker's".to_owned(), |it| it.to_string()),
        ),
        (
            "topic_config",
            match kafka.topic_config.is_empty() {
                true => "the broker's".to_owned(),
                false => format!("{:?}", kafka.topic_config),
            },
        ),
        ("max_payload", size(kafka.max_payload)),
        ("max_headers", size(kafka.max_headers)),
        ("fetched_kib", kafka.fetched_kib.to_string()),
        (
            "session_timeout",
            time(&format!("{:?}", kafka.session_timeout)),
        ),
        (
            "revoke_deadline",
            time(&format!("{:?}", kafka.revoke_deadline)),
        ),
        (
            "commit_interval",
            time(&format!("{:?}", kafka.commit_interval)),
        ),
        ("commit_every", kafka.commit_every.to_string()),
        ("topic_refresh", time(&format!("{:?}", kafka.topic_refresh))),
        (
            "static_member",
            format!("{:?}", kafka.static_member).to_lowercase(),
        ),
        (
            "group_protocol",
            format!("{:?}", kafka.group_protocol).to_lowercase(),
        ),
        ("unsafe_acks_one", on_or_off(kafka.unsafe_acks_one)),
        (
            "unsafe_not_idempotent",
            on_or_off(kafka.unsafe_not_idempotent),
        ),
    ]);
    assert_eq!(documented, actual);
}

#[test]
fn every_fixed_limit_is_the_constant_that_it_names() {
    let rows = table("Fixed limits");
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        let (path, name) = row[3].split_once("` `").expect("a file and a constant");
        let (path, name) = (path.trim_matches('`'), name.trim_matches('`'));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(root.join(path)).expect(path);
        let found = source
            .lines()
            .filter_map(|line| line.split_once(&format!("const {name}: ")))
            .filter_map(|(_, rest)| rest.split_once(" = "))
            .map(|(_, value)| value.trim_end_matches(';'));
        let found: Vec<_> = found.map(of_source).collect();
        let documented = in_words(&row[1], &row[2]);
        // Bytes are bare numbers in the source.
        let documented = documented.trim_end_matches(" B");
        assert_eq!(found, [documented], "{}: {path} {name}", row[0]);
    }
}

#[test]
fn every_message_to_watch_is_logged_at_its_level() {
    let mut sources = String::new();
    read_all(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    let rows = table("What to watch");
    assert!(rows.len() >= 12, "{} rows", rows.len());
    for row in rows {
        let level = format!("tracing::{}!(", row[0]);
        let quotes = [("`` ", " ``"), ("`", "`")];
        let message = quotes
            .iter()
            .find_map(|(open, close)| row[1].strip_prefix(open)?.strip_suffix(close))
            .expect("a message in backticks");
        let message = format!("\"{message}\"");
        let logged = sources
            .split(&level)
            .skip(1)
            .filter_map(|call| call.split(");\n").next())
            .any(|call| call.contains(&message));
        assert!(logged, "nothing logs {message} at level {}", row[0]);
    }
}

#[tokio::test]
async fn the_longest_retries_fit_into_the_dedup_window_as_the_page_says() {
    let error = Bus::builder("svc")
        .dedup(DedupPolicy::default().window(Duration::from_secs(1)))
        .build()
        .await
        .expect_err("too short");
    let said = PAGE
        .split_once("The defaults need ")
        .and_then(|(_, rest)| rest.split_once(" s of their 10 minutes"))
        .expect("the sentence")
        .0;
    let millis = (said.parse::<f64>().expect("seconds") * 1_000.0) as u64;
    assert!(
        error.to_string().contains(&format!("{millis}ms")),
        "{error}"
    );
}

/// What the bus and its groups say of themselves.
async fn of_the_bus() -> BTreeMap<String, String> {
    let builder = format!("{:?}", Bus::builder("svc"));
    let bus = Bus::builder("svc").build().await.expect("defaults");
    let group = format!("{:?}", bus.group("g"));
    let ordered = match field(&group, "ordered") {
        "true" => "ordered",
        _ => "unordered",
    };
    let retry = match field(&group, "reordering_retry") {
        "false" => "in place",
        _ => "put aside",
    };
    let kept = match field(&group, "dead_letters") {
        "true" => "kept",
        _ => "lost",
    };
    let bytes = |debug: &str, name| size(field(debug, name).parse().expect(name));
    assert_eq!(field(&group, "queue"), "None", "the transport's own");
    bus.group("g").on(async |_: Tick| {});
    let explained = bus.explain().to_string();
    assert!(
        explained.contains("concurrency 32, window 256, 5 attempts, deadline 30s, ordered per key"),
        "{explained}"
    );
    named([
        ("concurrency", count(field(&group, "concurrency"))),
        ("window", count(field(&group, "window"))),
        ("window bytes", bytes(&group, "window_bytes")),
        ("attempt deadline", time(field(&group, "deadline"))),
        ("order", ordered.to_owned()),
        ("retry", retry.to_owned()),
        ("dead letters", kept.to_owned()),
        (
            "after a dead letter",
            field(&group, "after_dead_letter").to_owned(),
        ),
        ("start of a new group", field(&group, "start").to_owned()),
        ("drain deadline", time(field(&builder, "drain"))),
        ("hops", count(field(&builder, "max_hops"))),
        ("headers", bytes(&builder, "max_headers")),
        ("key", bytes(&builder, "max_key")),
        ("warn handlers", count(field(&builder, "warn_handlers"))),
    ])
}

/// What the policies write into a configuration file.
fn of_the_policies() -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(duration) => time(duration),
        number => count(&number.to_string()),
    };
    let retry = serde_json::to_value(RetryPolicy::default()).expect("plain");
    let dedup = serde_json::to_value(DedupPolicy::default()).expect("plain");
    let pause = serde_json::to_value(PausePolicy::default()).expect("plain");
    named([
        ("attempts", text(&retry["attempts"])),
        ("backoff base", text(&retry["base"])),
        ("backoff factor", text(&retry["factor"])),
        ("backoff cap", text(&retry["cap"])),
        ("panics", text(&retry["panics"])),
        ("rate-limited total", text(&retry["rate_limited_total"])),
        ("dedup capacity", text(&dedup["capacity"])),
        ("dedup window", text(&dedup["window"])),
        ("pause finals", text(&pause["finals"])),
        ("pause window", text(&pause["window"])),
        ("pause threshold", text(&pause["failed_percent"])),
        ("first probe", text(&pause["first_probe"])),
        ("longest probe", text(&pause["longest_probe"])),
    ])
}

fn of_the_memory() -> BTreeMap<String, String> {
    let memory = MemoryConfig::default();
    named([
        ("queue length", count(&memory.queue.to_string())),
        (
            "publish deadline",
            time(&format!("{:?}", memory.publish_deadline)),
        ),
        ("payload", size(memory.max_payload)),
        ("memory headers", size(memory.max_headers)),
        ("spill", count(&memory.spill.to_string())),
        ("dead-letter bound", count(&memory.dead_letters.to_string())),
        ("forced encoding", on_or_off(memory.encoded)),
    ])
}

/// What nobody sets and only its effect shows.
async fn seen_at_work() -> BTreeMap<String, String> {
    let (share, floor) = retries_by_second().await;
    let deepest = (1..200)
        .take_while(|&depth| {
            let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let read = Body::new(body.as_bytes()).decode::<serde_json::Value>();
            read.is_ok_and(|_| true)
        })
        .last()
        .expect("one level is read");
    let deeper = format!("{}{}", "[".repeat(deepest + 1), "]".repeat(deepest + 1));
    let error = Body::new(deeper.as_bytes()).decode::<serde_json::Value>();
    assert_eq!(
        error.expect_err("too deep").kind(),
        DecodeErrorKind::TooDeep
    );
    named([
        ("retry budget", share.to_string()),
        ("retry budget floor", floor.to_string()),
        ("emit_all in flight", emits_in_flight().await.to_string()),
        ("stream capacity", stream_capacity().await.to_string()),
        ("stream overflow", "DropOldest".to_owned()),
        ("JSON depth", deepest.to_string()),
    ])
}

/// A thousand events fail once: how many percent of them are tried again within the first second,
/// and how many within the next.
async fn retries_by_second() -> (usize, usize) {
    const EVENTS: u32 = 1_000;
    let bus = Bus::builder("svc")
        .concurrency(EVENTS as usize)
        .queue(EVENTS as usize)
        .retry(RetryPolicy::exponential().base(Duration::from_millis(1)))
        .build()
        .await
        .expect("it builds");
    let retries = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let begun = Instant::now();
    let counted = Arc::clone(&retries);
    bus.group("g")
        .window(EVENTS as usize)
        .on(move |tick: Delivery<Tick>| {
            let retries = Arc::clone(&counted);
            async move {
                if tick.attempt() == 1 {
                    return Err("again");
                }
                let second = begun.elapsed().as_secs() as usize;
                if let Some(count) = retries.get(second) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
    for number in 0..EVENTS {
        bus.try_emit(Tick(number)).expect("there is room");
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let [first, next] = [0, 1].map(|second| retries[second].load(Ordering::Relaxed));
    (first * 100 / EVENTS as usize, next)
}

/// Counts publishes and lets none through.
struct Stuck(Arc<AtomicUsize>);

#[async_trait]
impl Middleware for Stuck {
    async fn publish(&self, _: Message, _: NextPublish<'_>) -> Result<Receipt, PublishError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

async fn emits_in_flight() -> usize {
    let begun = Arc::new(AtomicUsize::new(0));
    let bus = Bus::builder("svc").around_publish(Stuck(Arc::clone(&begun)));
    let bus = bus.build().await.expect("it builds");
    let all = bus.emit_all((0..5_000).map(Tick));
    assert!(all.now_or_never().is_none(), "none of them ends");
    begun.load(Ordering::Relaxed)
}

/// How many of more events than fit are still there: the newest, as the oldest went.
async fn stream_capacity() -> usize {
    const EVENTS: u32 = 5_000;
    let bus = Bus::builder("svc").build().await.expect("it builds");
    let mut ticks = bus.stream::<Tick>();
    for number in 0..EVENTS {
        bus.try_emit(Tick(number)).expect("streams refuse none");
    }
    let first = ticks.next().await.expect("it is open");
    let Err(Lagged { missed }) = first else {
        panic!("nothing is missing: {first:?}");
    };
    let newest: Vec<u32> = ticks
        .take(EVENTS as usize - missed as usize)
        .map(|tick| tick.expect("the rest is there").0)
        .collect()
        .await;
    assert_eq!(newest.last(), Some(&(EVENTS - 1)));
    newest.len()
}

/// The rows of the first table under a heading, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        let row = row.trim_matches('|').split('|');
        row.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.skip(2).map(cells).collect()
}

/// A documented value in the form of the functions below.
fn in_words(value: &str, unit: &str) -> String {
    let number = value.replace(',', "");
    match unit {
        "ms" | "s" | "min" => time(&format!("{number}{unit}")),
        "KiB" | "MiB" | "bytes" => {
            let factor = match unit {
                "KiB" => 1_024,
                "MiB" => 1_024 * 1_024,
                _ => 1,
            };
            size(number.parse::<usize>().expect(value) * factor)
        }
        _ => number,
    }
}

fn named<const N: usize>(values: [(&str, String); N]) -> BTreeMap<String, String> {
    values.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A field of a `Debug` text.
fn field<'a>(debug: &'a str, name: &str) -> &'a str {
    let (_, rest) = debug
        .split_once(&format!(" {name}: "))
        .unwrap_or_else(|| panic!("no field {name} in {debug}"));
    rest.split([',', ' ']).next().unwrap_or(rest)
}

fn on_or_off(value: bool) -> String {
    if value { "on" } else { "off" }.to_owned()
}

fn count(number: &str) -> String {
    number.trim_end_matches(".0").to_owned()
}

fn size(bytes: usize) -> String {
    format!("{bytes} B")
}

/// A duration such as `30s`, `100ms` or `15min`, in milliseconds.
fn time(text: &str) -> String {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().expect(text);
    let factor = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        other => panic!("{text}: the unit {other:?}"),
    };
    format!("{} ms", number * factor)
}

/// The value of a constant as it stands in the source. Whole numbers are bytes where the row says
/// so, which is the same number.
fn of_source(value: &str) -> String {
    let number = |text: &str| -> usize {
        let factors = text
            .split('*')
            .map(|factor| factor.trim().replace('_', "").parse::<usize>());
        factors.map(|factor| factor.expect(value)).product()
    };
    let inside = |prefix: &str| value.strip_prefix(prefix)?.strip_suffix(')');
    if let Some(millis) = inside("Duration::from_millis(") {
        format!("{} ms", number(millis))
    } else if let Some(seconds) = inside("Duration::from_secs(") {
        format!("{} ms", number(seconds) * 1_000)
    } else {
        number(value).to_string()
    }
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, text);
        } else {
            text.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
