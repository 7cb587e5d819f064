//! What the bus promises above any transport, on a real Kafka: records that no bus wrote, and what
//! cannot be read.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::transport::{Carried, Headers, Message, Name, Origin, Payload, Topology, Transport};
use tidings::{Bus, BusBuilder, Declare, Delivery, Event, Mapping, RetryPolicy, Start, permanent};
use tidings_conformance::{Broker, Trials};

#[allow(dead_code, reason = "the example is a program of its own")]
#[path = "../../examples/orders/main.rs"]
mod orders;

mod aside;
mod services;

fn main() -> ExitCode {
    if let Some(ended) = services::of_this_process() {
        return ended;
    }
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .trial(
            "row_58_a_plain_record_reaches_the_one_type_that_has_the_topic",
            plain,
        )
        .trial("a_declared_mapping_reads_what_others_write", mapped)
        .trial("row_47_a_tombstone_is_skipped_and_counted", tombstone)
        .trial(
            "row_48_bytes_that_do_not_decode_are_dead_lettered_as_they_came",
            undecodable,
        )
        .trial(
            "row_63_a_record_over_the_limit_is_dead_lettered_by_reference",
            oversize,
        )
        .trial("row_63_headers_over_the_limit_hold_up_nobody", many_headers)
        .trial(
            "row_62_a_media_type_that_lies_is_no_matter_to_the_bytes",
            lies,
        )
        .trial(
            "row_24_a_missing_topic_is_named_where_nothing_is_made",
            missing,
        )
        .trial(
            "an_emit_of_a_type_that_nobody_handles_makes_its_topic",
            producer_only,
        )
        .trial(
            "contract_o3_what_was_put_aside_outlives_the_process_with_its_count",
            aside::outlives,
        )
        .trial(
            "contract_o3_a_group_that_follows_a_pattern_reads_its_own_retries_alone",
            aside::by_pattern,
        )
        .trial(
            "contract_o3_what_cannot_be_put_aside_waits_in_its_lane",
            aside::in_its_lane,
        )
        .trial(
            "contract_r4_a_dead_letter_that_cannot_be_written_keeps_its_event",
            unwritable,
        )
        .trial("cloud_events_in_structured_mode_come_back", structured)
        .trial(
            "contract_d7_retries_are_read_from_their_beginning_wherever_a_group_starts",
            aside::from_the_beginning,
        )
        .trial_with(
            "TIDINGS_TEST_KAFKA_PASSWORD",
            "a_url_alone_connects_over_tls_as_a_user",
            secure_url,
        )
        .trial("the_orders_example_balances", balances)
        .trial(
            "the_orders_example_balances_as_several_processes",
            services::balance,
        )
        .main()
}

/// The example, with one option more.
async fn balances(url: String) {
    let _alone = services::ALONE.lock().await;
    let arguments = ["--orders", "120", "--seed", "7", "--transport", &url];
    let options = orders::options::Options::parse(arguments.map(Into::into).into_iter()).unwrap();
    let balance = orders::run(&options, std::io::sink()).await.unwrap();
    let text = balance.to_string();
    assert!(
        text.starts_with("placed=120 paid=") && text.ends_with("dead=1 duplicates=2 ok"),
        "{text}"
    );
}

fn kafka(url: &str) -> Kafka {
    Kafka::new(url.trim_start_matches("kafka://")).partitions(3)
}

/// A service that no other run has, so that its groups are new.
fn unique(what: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    format!("{what}-{}-{}", since.as_micros(), std::process::id())
}

fn builder(url: &str, what: &str) -> BusBuilder {
    Bus::builder(unique(what)).transport(kafka(url))
}

/// Publishes what no bus would.
async fn inject(url: &str, topic: &str, key: &str, payload: Payload) {
    let message = Message {
        topic: Name::from(topic),
        key: Some(key.to_owned().into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload,
        delay: None,
    };
    kafka(url)
        .publish(message, Origin::default())
        .await
        .unwrap();
}

fn json(text: &'static str) -> Payload {
    Payload::Bytes(text.into())
}

type Log<T> = Arc<Mutex<Vec<T>>>;

fn seen<T: Clone>(log: &Log<T>) -> Vec<T> {
    log.lock().unwrap().clone()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.plain", version = 3, key = order_id)]
#[serde(rename_all = "camelCase")]
struct Plain {
    order_id: String,
    user_id: String,
    amount: f64,
    timestamp: String,
}

async fn plain(url: String) {
    let bus = builder(&url, "plain").build().await.unwrap();
    let log = Log::<(Plain, Option<String>, u32)>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group.with(Arc::clone(&log)).on(
        async |log: Log<(Plain, Option<String>, u32)>, event: Delivery<Plain>| {
            let key = event.key().map(str::to_owned);
            let entry = (event.event().clone(), key, event.version());
            log.lock().unwrap().push(entry);
        },
    );
    bus.start().await.unwrap();
    let record =
        r#"{"orderId":"ord_1","userId":"usr_1","amount":59.99,"timestamp":"2026-03-10T14:23:00Z"}"#;
    inject(&url, "kafka.plain", "ord_1", json(record)).await;
    bus.settled().await.unwrap();
    let [(order, key, version)] = &seen(&log)[..] else {
        panic!("{:?}", seen(&log));
    };
    assert_eq!((&*order.order_id, order.amount), ("ord_1", 59.99));
    assert_eq!(
        (key.as_deref(), *version),
        (Some("ord_1"), 3),
        "as the latest version"
    );
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "OrderPlaced", version = 1, topic = "kafka-mapped-orders", key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderPlaced {
    order_id: String,
}

async fn mapped(url: String) {
    let mapping = Mapping::new("kafka-mapped-orders", "/event", "/data").id("/data/orderId");
    let bus = builder(&url, "mapped")
        .mapping(mapping)
        .build()
        .await
        .unwrap();
    let log = Log::<(String, String)>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group.with(Arc::clone(&log)).on(
        async |log: Log<(String, String)>, event: Delivery<OrderPlaced>| {
            let entry = (event.order_id.clone(), event.id().to_string());
            log.lock().unwrap().push(entry);
        },
    );
    bus.start().await.unwrap();
    let topic = "kafka-mapped-orders";
    let good = r#"{"event":"OrderPlaced","data":{"orderId":"ord_1"}}"#;
    let other = r#"{"event":"OrderShipped","data":{"orderId":"ord_1"}}"#;
    let wrong = r#"{"data":{"orderId":"ord_2"}}"#;
    for record in [good, other, wrong] {
        inject(&url, topic, "ord_1", json(record)).await;
    }
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [("ord_1".to_owned(), "ord_1".to_owned())]);
    let dead = bus.dead_letters("readers").list().await.unwrap();
    assert_eq!(dead.len(), 1, "only the one that the mapping cannot read");
    assert_eq!(dead[0].bytes(), wrong.as_bytes());
    assert_eq!(
        bus.group("readers").stats().unwrap().skipped,
        1,
        "a type nobody handles"
    );
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.fragile", version = 1, key = key)]
struct Fragile {
    key: String,
}

async fn fragile(url: &str, what: &str) -> (Bus, Log<String>) {
    let bus = builder(url, what).build().await.unwrap();
    let log = Log::<String>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group
        .with(Arc::clone(&log))
        .on(async |log: Log<String>, event: Fragile| log.lock().unwrap().push(event.key));
    bus.start().await.unwrap();
    (bus, log)
}

async fn tombstone(url: String) {
    let (bus, _) = fragile(&url, "tombstone").await;
    inject(&url, "kafka.fragile", "k", Payload::Tombstone).await;
    bus.settled().await.unwrap();
    // Other trials may write to the same topic, but no other tombstone.
    assert_eq!(bus.group("readers").stats().unwrap().skipped, 1);
    bus.shutdown().await.unwrap();
}

async fn undecodable(url: String) {
    let (bus, log) = fragile(&url, "undecodable").await;
    let bytes: &[u8] = b"{\"key\": \xff\xfe";
    inject(&url, "kafka.fragile", "k", Payload::Bytes(bytes.into())).await;
    let key = unique("after");
    bus.emit(Fragile { key: key.clone() }).await.unwrap();
    bus.settled().await.unwrap();
    assert!(seen(&log).contains(&key), "it blocks nobody");
    let dead = bus.dead_letters("readers").list().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].bytes(), bytes);
    assert_eq!(dead[0].topic(), "kafka.fragile");
    assert!(dead[0].position().is_some());
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.oversize", version = 1, key = key)]
struct Oversize {
    key: String,
}

/// A producer whose limits are higher than ours, and what it made of the topic.
async fn generous(url: &str, topic: &str) -> Kafka {
    let mut config = tidings::kafka::KafkaConfig::default();
    (config.max_payload, config.max_headers) = (4 << 20, 32 << 10);
    let kafka = Kafka::with_config(url.trim_start_matches("kafka://"), config);
    let topology = Topology {
        topics: vec![Name::from(topic)],
        ..Topology::default()
    };
    kafka.declare(&topology).await.unwrap();
    kafka
}

async fn oversize(url: String) {
    let generous = generous(&url, "kafka.oversize").await;
    let bus = builder(&url, "oversize").build().await.unwrap();
    let log = Log::<String>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group
        .with(Arc::clone(&log))
        .on(async |log: Log<String>, event: Oversize| log.lock().unwrap().push(event.key));
    bus.start().await.unwrap();
    let key = unique("k");
    let body = format!(r#"{{"key":"{}"}}"#, "x".repeat(3 << 20));
    let mut message = Message {
        topic: Name::from("kafka.oversize"),
        key: Some(key.clone().into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes(body.clone().into()),
        delay: None,
    };
    message.headers.push("region", "eu");
    let receipt = generous.publish(message, Origin::default()).await.unwrap();
    bus.emit(Oversize { key: key.clone() }).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [key], "what comes behind it is handled");
    let dead = bus.dead_letters("readers").list().await.unwrap();
    let [letter] = &dead[..] else {
        panic!("{dead:?}");
    };
    assert_eq!(letter.reason(), "too_large");
    assert_eq!(
        (letter.bytes().len(), letter.topic()),
        (0, "kafka.oversize")
    );
    assert_eq!(letter.position(), receipt.position);
    let left_out = letter.left_out().unwrap();
    let expected = format!("{} bytes of payload, 1 headers of 8 bytes", body.len());
    assert!(left_out.starts_with(&expected), "{left_out}");
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.kept", version = 1, key = key)]
struct Kept {
    key: String,
}

async fn unwritable(url: String) {
    let declare = async |topic: String| {
        let topology = Topology {
            topics: vec![topic.into()],
            ..Topology::default()
        };
        kafka(&url).declare(&topology).await.unwrap();
    };
    declare(Kept::NAME.to_owned()).await;
    let service = unique("unwritable");
    // Nobody has made the topic of its dead letters.
    let transport = kafka(&url).publish_deadline(Duration::from_secs(2));
    let builder = Bus::builder(service.clone()).transport(transport);
    let bus = builder.declare(Declare::Assume).build().await.unwrap();
    let key = unique("k");
    let log = Log::<String>::default();
    bus.group("readers")
        .with((Arc::clone(&log), key.clone()))
        .on(async |(log, mine): (Log<String>, String), event: Kept| {
            log.lock().unwrap().push(event.key.clone());
            // Earlier runs left theirs.
            match event.key == mine {
                true => Err(permanent(std::io::Error::other("no"))),
                false => Ok(()),
            }
        });
    bus.start().await.unwrap();
    let behind = async || -> u64 {
        bus.lag()
            .await
            .unwrap()
            .iter()
            .map(|of| of.lag.behind())
            .sum()
    };
    bus.emit(Kept { key: key.clone() }).await.unwrap();
    let mine = || seen(&log).contains(&key);
    let wait = async {
        while !mine() || behind().await != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap();
    let dead = || bus.group("readers").stats().unwrap().dead_lettered;
    assert_eq!(dead(), 0);
    declare(format!("{service}.readers.dead")).await;
    bus.settled().await.unwrap();
    assert_eq!((dead(), behind().await), (1, 0));
    let letters = bus.dead_letters("readers").list().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key().unwrap(), &*key);
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.secure", version = 1, key = key)]
struct Secure {
    key: String,
}

async fn secure_url(_plain: String) {
    let named = |name: &str| std::env::var(name).unwrap();
    let url = format!(
        "kafka://{}/?ca_file={}&sasl=scram-sha-512&user=bob&password_env=TIDINGS_TEST_KAFKA_PASSWORD",
        named("TIDINGS_TEST_KAFKA_SASL_SSL"),
        named("TIDINGS_TEST_KAFKA_CA"),
    );
    let connected = Bus::connect(unique("secure"), &url).await;
    if cfg!(not(feature = "kafka-ssl")) {
        let problem = connected.unwrap_err().to_string();
        assert!(
            problem.contains("turn on the feature `kafka-ssl`"),
            "{problem}"
        );
        return;
    }
    let bus = connected.unwrap();
    let log = Log::<String>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group
        .with(Arc::clone(&log))
        .on(async |log: Log<String>, event: Secure| log.lock().unwrap().push(event.key));
    bus.start().await.unwrap();
    let key = unique("k");
    bus.emit(Secure { key: key.clone() }).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [key]);
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.structured", version = 2, key = key)]
struct Structured {
    key: String,
    amount: u32,
}

async fn structured(url: String) {
    let builder = builder(&url, "structured").codec(tidings::CloudEventsStructured);
    let bus = builder.build().await.unwrap();
    let log = Log::<(Structured, String, u32)>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group.with(Arc::clone(&log)).on(
        async |log: Log<(Structured, String, u32)>, event: Delivery<Structured>| {
            let entry = (
                event.event().clone(),
                event.id().to_string(),
                event.version(),
            );
            log.lock().unwrap().push(entry);
            Err::<(), _>(permanent(std::io::Error::other("to see its bytes")))
        },
    );
    bus.start().await.unwrap();
    let event = Structured {
        key: unique("k"),
        amount: 7,
    };
    bus.emit(event.clone()).id("evt_9").await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), [(event.clone(), "evt_9".to_owned(), 2)]);
    let letters = bus.dead_letters("readers").list().await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&letters[0].bytes()).unwrap();
    // One JSON object with the attributes and the data, as the specification has it.
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "evt_9"),
        ("type", "kafka.structured"),
    ] {
        assert_eq!(body[name], value, "{body}");
    }
    assert_eq!(body["data"]["amount"], 7, "{body}");
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.headers", version = 1, key = key)]
struct Headed {
    key: String,
}

async fn many_headers(url: String) {
    let generous = generous(&url, "kafka.headers").await;
    let bus = builder(&url, "headers").build().await.unwrap();
    let group = bus.group("readers").start_at(Start::Latest);
    group
        .retry(RetryPolicy::none())
        .on(async |_: Headed| Err(permanent(std::io::Error::other("no"))));
    bus.start().await.unwrap();
    // At the limit of an emit: the letter has room for its own beside them.
    let near = "x".repeat(16 * 1024 - 6);
    let key = unique("k");
    bus.emit(Headed { key: key.clone() })
        .header("region", near.clone())
        .await
        .unwrap();
    bus.settled().await.unwrap();
    let mut message = Message {
        topic: Name::from("kafka.headers"),
        key: Some(key.into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: json(r#"{"key":"k"}"#),
        delay: None,
    };
    message.headers.push("region", "x".repeat(30 * 1024));
    generous.publish(message, Origin::default()).await.unwrap();
    bus.settled().await.unwrap();
    let dead = bus.dead_letters("readers").list().await.unwrap();
    let [whole, referred] = &dead[..] else {
        panic!("{dead:?}");
    };
    assert_eq!(whole.left_out(), None);
    assert_eq!(whole.headers().get_str("region"), Some(&*near));
    assert!(referred.left_out().is_some());
    assert_eq!(
        (whole.reason(), referred.reason()),
        ("permanent", "permanent")
    );
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "kafka.lies", version = 1, key = key)]
struct Lies {
    key: String,
}

/// Bytes are read as what the codec reads, never unpacked: a bomb stays as large as it came.
async fn lies(url: String) {
    let bus = builder(&url, "lies").build().await.unwrap();
    let log = Log::<String>::default();
    let group = bus.group("readers").start_at(Start::Latest);
    group
        .with(Arc::clone(&log))
        .on(async |log: Log<String>, event: Lies| log.lock().unwrap().push(event.key));
    bus.start().await.unwrap();
    let gzip: &[u8] = &[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3];
    for (media, payload) in [
        ("text/html", json(r#"{"key":"k"}"#)),
        ("application/json", Payload::Bytes(gzip.into())),
    ] {
        let mut fields = Headers::new();
        fields.push("datacontenttype", media);
        let mut message = Message {
            topic: Name::from("kafka.lies"),
            key: Some("k".into()),
            envelope: Carried::Raw(fields),
            headers: Headers::new(),
            payload,
            delay: None,
        };
        message.headers.push("content-encoding", "gzip");
        kafka(&url)
            .publish(message, Origin::default())
            .await
            .unwrap();
    }
    bus.settled().await.unwrap();
    assert_eq!(seen(&log), ["k"]);
    let dead = bus.dead_letters("readers").list().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].bytes(), gzip);
    bus.shutdown().await.unwrap();
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "kafka.never.made", version = 1)]
struct NeverMade {}

async fn missing(url: String) {
    let bus = builder(&url, "missing")
        .declare(Declare::Verify)
        .build()
        .await
        .unwrap();
    bus.group("readers").on(async |_: NeverMade| {});
    let error = bus.start().await.unwrap_err();
    let text = format!("{error}: {error:?}");
    assert!(
        text.contains("kafka.never.made") && text.contains("Missing"),
        "{text}"
    );
    let error = bus.emit(NeverMade {}).await.unwrap_err();
    assert!(!error.is_unknown());
    let text = error.reason().to_string();
    assert!(text.contains("kafka.never.made"), "{text}");
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "kafka.only.emitted", version = 1)]
struct OnlyEmitted {}

async fn producer_only(url: String) {
    let bus = builder(&url, "producer").build().await.unwrap();
    let receipt = bus.emit(OnlyEmitted {}).await.unwrap();
    assert!(receipt.position().is_some());
    bus.shutdown().await.unwrap();
}
