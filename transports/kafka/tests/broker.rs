//! What only a real broker does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings_conformance::{Broker, Trials};
use tidings_kafka::{GroupProtocol, Kafka, KafkaConsumer};
use tidings_transport::{
    Batch, Carried, Consumer, Declare, Envelope, ErrorKind, GroupTopology, Mode, Name, Origin,
    Payload, Signal, Start, Subscribe, Timestamp, Topics, Topology, Transport, TransportError,
};

use kit::{message, only};

fn main() -> ExitCode {
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .trial("an_offset_that_retention_passed_is_data_loss", data_loss)
        .trial("row_93_topics_that_differ_only_in_dots_are_named", twins)
        .trial("row_25_a_topic_that_is_too_small_is_a_conflict", too_small)
        .trial(
            "a_topic_is_made_with_its_settings_and_verified_by_them",
            topic_settings,
        )
        .trial("row_27_a_topic_with_one_replica_is_a_finding", examined)
        .trial("what_is_compressed_comes_back_as_it_was", compressed)
        .trial("nothing_is_made_where_topics_are_assumed", assumed)
        .trial(
            "a_replay_ends_where_the_last_offset_has_no_record",
            gap_at_the_end,
        )
        .trial(
            "a_replay_from_an_offset_that_is_gone_is_data_loss",
            replay_of_what_is_gone,
        )
        .trial("the_broker_can_assign_partitions", broker_assigns)
        .trial(
            "row_39_an_event_of_tomorrow_is_taken_and_keeps_its_time",
            tomorrow,
        )
        .trial("row_44_an_event_without_a_topic_was_not_published", nowhere)
        .trial("row_28_a_second_static_member_fences_the_first", fenced)
        .trial("a_static_member_comes_back_to_its_partitions", comes_back)
        .main()
}

fn kafka(url: &str) -> Kafka {
    Kafka::new(url.trim_start_matches("kafka://")).partitions(1)
}

fn admin(url: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", url.trim_start_matches("kafka://"))
        .create()
        .unwrap()
}

fn unique(what: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    format!("{what}-{}-{}", since.as_micros(), std::process::id())
}

fn topology(topic: &str, group: &str) -> Topology {
    Topology {
        topics: vec![Name::from(topic)],
        groups: vec![GroupTopology {
            name: Name::from(group),
            topics: Topics::exact([topic.to_owned()]),
            ordered: true,
            start: Start::Earliest,
            dead_letters: None,
            queue: None,
        }],
        declare: Declare::Create,
    }
}

async fn join(kafka: &Kafka, topic: &str, group: &str) -> KafkaConsumer {
    let subscribe = Subscribe {
        group: Name::from(group),
        topics: Topics::exact([topic.to_owned()]),
        start: Start::Earliest,
        mode: Mode::AtLeastOnce,
        window: 64,
        ordered: true,
    };
    kafka.subscribe(subscribe).await.unwrap()
}

async fn publish(kafka: &Kafka, topic: &str, count: usize) {
    for _ in 0..count {
        let message = message(topic, None);
        kafka.publish(message, Origin::default()).await.unwrap();
    }
}

/// Receives and acks so many.
async fn consume(member: &mut KafkaConsumer, count: usize) {
    let mut batch = Batch::default();
    let mut seen = 0;
    while seen < count {
        member.receive(64, &mut batch).await.unwrap();
        for received in batch.drain() {
            seen += 1;
            received.ack();
        }
    }
    assert_eq!(seen, count);
}

async fn topic_settings(url: String) {
    let topic = unique("settings");
    let with = |value: &str| kafka(&url).topic_config("retention.ms", value);
    with("123456789").declare(&only(&topic)).await.unwrap();
    let verify = Topology {
        declare: Declare::Verify,
        ..only(&topic)
    };
    with("123456789").declare(&verify).await.unwrap();
    let error = with("987654321").declare(&verify).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(
        text.contains(&topic) && text.contains("retention.ms=123456789, 987654321 is asked for"),
        "{text}"
    );
    // What exists is never altered.
    with("987654321").declare(&only(&topic)).await.unwrap();
    with("123456789").declare(&verify).await.unwrap();
}

async fn examined(url: String) {
    let (topic, group) = (unique("examined"), unique("readers"));
    let kafka = kafka(&url);
    let missing = kafka.examine(&topology(&topic, &group)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
    assert!(missing.to_string().contains(&topic), "{missing}");
    kafka.declare(&topology(&topic, &group)).await.unwrap();
    // The broker of the tests is alone.
    let findings = kafka.examine(&topology(&topic, &group)).await.unwrap();
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert!(
        finding.contains(&format!(
            "topic {topic:?} has 1 replica: what it holds is lost"
        )),
        "{finding}"
    );
}

async fn compressed(url: String) {
    use tidings_kafka::Compression::{Gzip, Lz4, Snappy};
    for compression in [Gzip, Snappy, Lz4] {
        let (topic, group) = (unique("compressed"), unique("readers"));
        let kafka = kafka(&url).compression(compression);
        kafka.declare(&topology(&topic, &group)).await.unwrap();
        let body = "a line that comes again; ".repeat(4_000);
        let mut sent = message(&topic, Some("k"));
        sent.payload = Payload::Bytes(body.clone().into());
        kafka.publish(sent, Origin::default()).await.unwrap();
        let mut member = join(&kafka, &topic, &group).await;
        let mut batch = Batch::default();
        while batch.is_empty() {
            member.receive(1, &mut batch).await.unwrap();
        }
        for received in batch.drain() {
            let Payload::Bytes(came) = &received.payload else {
                panic!("{:?}", received.payload);
            };
            assert_eq!(came, body.as_bytes());
            received.ack();
        }
        member.close(Duration::from_secs(10)).await.unwrap();
    }
}

async fn assumed(url: String) {
    let topic = unique("assumed");
    let assume = Topology {
        declare: Declare::Assume,
        ..only(&topic)
    };
    kafka(&url).declare(&assume).await.unwrap();
    let verify = Topology {
        declare: Declare::Verify,
        ..only(&topic)
    };
    let error = kafka(&url).declare(&verify).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains(&topic), "{error}");
}

/// KIP-848: subscribe, consume, leave, go on.
async fn broker_assigns(url: String) {
    let (topic, group) = (unique("assigned"), unique("readers"));
    let kafka = kafka(&url).group_protocol(GroupProtocol::Consumer);
    kafka.declare(&topology(&topic, &group)).await.unwrap();
    for _ in 0..2 {
        publish(&kafka, &topic, 10).await;
        let mut member = join(&kafka, &topic, &group).await;
        consume(&mut member, 10).await;
        member.close(Duration::from_secs(10)).await.unwrap();
    }
}

/// Trap 7: in the classic protocol the older of two members with one name loses.
async fn fenced(url: String) {
    let (topic, group) = (unique("static"), unique("readers"));
    let open = || kafka(&url).static_member("replica-1");
    let (first, second) = (open(), open());
    first.declare(&topology(&topic, &group)).await.unwrap();
    publish(&first, &topic, 1).await;
    let mut loser = join(&first, &topic, &group).await;
    consume(&mut loser, 1).await;
    let mut winner = join(&second, &topic, &group).await;
    let mut batch = Batch::default();
    let error = loop {
        match loser.receive(1, &mut batch).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(!error.is_retryable());
    publish(&second, &topic, 1).await;
    // What the loser had not committed comes again, before what is new.
    let mut newest = 0;
    while newest < 1 {
        winner.receive(64, &mut batch).await.unwrap();
        for received in batch.drain() {
            newest = received.origination.position.unwrap().offset;
            received.ack();
        }
    }
}

/// Trap 7: leaving sends no word, so nothing moves while the session lasts.
async fn comes_back(url: String) {
    let (topic, group) = (unique("back"), unique("readers"));
    let open = || kafka(&url).static_member("replica-1");
    let first = open();
    first.declare(&topology(&topic, &group)).await.unwrap();
    publish(&first, &topic, 2).await;
    let mut member = join(&first, &topic, &group).await;
    consume(&mut member, 2).await;
    member.close(Duration::from_secs(10)).await.unwrap();
    publish(&first, &topic, 3).await;
    let second = open();
    let mut member = join(&second, &topic, &group).await;
    consume(&mut member, 3).await;
    member.close(Duration::from_secs(10)).await.unwrap();
}

/// Contract D7: never skipped in silence.
async fn data_loss(url: String) {
    let (topic, group) = (unique("lossy"), unique("readers"));
    let kafka = kafka(&url);
    kafka.declare(&topology(&topic, &group)).await.unwrap();
    publish(&kafka, &topic, 10).await;
    let mut member = join(&kafka, &topic, &group).await;
    let mut batch = Batch::default();
    while batch.len() < 10 {
        member.receive(64, &mut batch).await.unwrap();
    }
    batch.drain().take(2).for_each(|received| received.ack());
    member.close(Duration::from_secs(10)).await.unwrap();

    delete_before(&url, &topic, 8).await;
    let mut member = join(&kafka, &topic, &group).await;
    let error = loop {
        match member.receive(64, &mut batch).await {
            Ok(signal) => assert!(batch.is_empty(), "{signal:?}: {batch:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&group), "{text}");
    let gone = format!("{topic} 0: records 2 to 7 are gone");
    assert!(text.contains(&gone), "{text}");
}

/// The last offset of a transactional topic is the mark of the commit, and the end of a compacted one
/// may be gone.
async fn gap_at_the_end(url: String) {
    let topic = unique("gap");
    let kafka = kafka(&url);
    kafka.declare(&only(&topic)).await.unwrap();
    let servers = url.trim_start_matches("kafka://").to_owned();
    let name = topic.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("transactional.id", &name)
            .create()
            .unwrap();
        let time = Duration::from_secs(20);
        producer.init_transactions(time).unwrap();
        producer.begin_transaction().unwrap();
        for _ in 0..3 {
            let record = BaseRecord::<(), [u8]>::to(&name).payload(b"{}");
            producer.send(record).unwrap();
        }
        producer.commit_transaction(time).unwrap();
    })
    .await
    .unwrap();
    // The broker writes the mark a moment after it said that it would.
    let mut member = loop {
        let member = replay(&kafka, &topic, Start::Earliest).await.unwrap();
        let lag = kafka.lag(&Name::from("cursor")).await.unwrap();
        if lag[0].end == 4 {
            assert_eq!(lag[0].behind(), 4);
            break member;
        }
        member.close(Duration::from_secs(10)).await.unwrap();
    };
    consume(&mut member, 3).await;
    let mut batch = Batch::default();
    assert_eq!(member.receive(64, &mut batch).await.unwrap(), Signal::End);
}

async fn replay_of_what_is_gone(url: String) {
    let topic = unique("gone");
    let kafka = kafka(&url);
    kafka.declare(&only(&topic)).await.unwrap();
    publish(&kafka, &topic, 10).await;
    delete_before(&url, &topic, 8).await;
    let error = replay(&kafka, &topic, Start::Offset(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert!(error.to_string().contains("left is 8"), "{error}");
    let mut member = replay(&kafka, &topic, Start::Offset(8)).await.unwrap();
    consume(&mut member, 2).await;
    // Nor where retention has left nothing.
    delete_before(&url, &topic, 10).await;
    let error = replay(&kafka, &topic, Start::Offset(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

async fn replay(kafka: &Kafka, topic: &str, start: Start) -> Result<KafkaConsumer, TransportError> {
    let subscribe = Subscribe {
        group: Name::from("cursor"),
        topics: Topics::exact([topic.to_owned()]),
        start,
        mode: Mode::Replay { until: None },
        window: 64,
        ordered: true,
    };
    kafka.subscribe(subscribe).await
}

/// Retention, at once.
async fn delete_before(url: &str, topic: &str, offset: i64) {
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    admin(url)
        .delete_records(&gone, &AdminOptions::new())
        .await
        .unwrap();
}

async fn twins(url: String) {
    let name = unique("twin");
    let kafka = kafka(&url);
    kafka.declare(&only(&format!("{name}.a"))).await.unwrap();
    let error = kafka
        .declare(&only(&format!("{name}_a")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains(&format!("{name}.a")), "{text}");
    assert!(text.contains(&format!("{name}_a")), "{text}");
}

/// Mode verify, and the promise that 1 MiB of payload fits.
async fn too_small(url: String) {
    let topic = unique("small");
    let small = Kafka::with_config(url.trim_start_matches("kafka://"), {
        let mut config = tidings_kafka::KafkaConfig::default();
        config.max_payload = 1_000;
        config.partitions = 1;
        config
    });
    let mut topology = only(&topic);
    small.declare(&topology).await.unwrap();
    topology.declare = Declare::Verify;
    small.declare(&topology).await.unwrap();
    let error = kafka(&url).declare(&topology).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(
        text.contains("max.message.bytes=66536") && text.contains(&topic),
        "{text}"
    );
}

/// Kafka 4 refuses records that are more than an hour ahead: the event's time is in a header, the
/// record has its own.
async fn tomorrow(url: String) {
    let (topic, group) = (unique("tomorrow"), unique("readers"));
    let kafka = kafka(&url);
    kafka.declare(&topology(&topic, &group)).await.unwrap();
    let day = 24 * 3_600 * 1_000_000;
    let now = Timestamp::now().as_micros();
    let time = Timestamp::from_micros(now + day);
    let mut envelope = Envelope::new("ord-1".into(), topic.as_str().into(), 1, "/tests".into());
    envelope.attributes_mut().time = Some(time);
    let mut ahead = message(&topic, None);
    ahead.envelope = Carried::Local(envelope);
    kafka.publish(ahead, Origin::default()).await.unwrap();

    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", url.trim_start_matches("kafka://"))
        .set("group.id", &group)
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    start
        .add_partition_offset(&topic, 0, Offset::Beginning)
        .unwrap();
    reader.assign(&start).unwrap();
    let record = loop {
        if let Some(record) = reader.poll(Duration::from_millis(50)) {
            break record.unwrap().detach();
        }
    };
    let stamped = record.timestamp().to_millis().unwrap() * 1_000;
    assert!((stamped - now).abs() < day / 24, "within the hour");
    let mut headers = record.headers().unwrap().iter();
    let header = headers.find(|header| header.key == "ce_time").unwrap();
    let shown = String::from_utf8_lossy(header.value.unwrap());
    assert_eq!(shown, time.to_string());
}

/// On Kafka an event is unroutable where its topic is not there.
async fn nowhere(url: String) {
    let topic = unique("nowhere");
    let kafka = kafka(&url).publish_deadline(Duration::from_secs(10));
    for _ in 0..2 {
        let publish = kafka.publish(message(&topic, None), Origin::default());
        let error = publish.await.unwrap_err();
        assert!(!error.is_unknown(), "{error:?}");
        let text = error.reason().to_string();
        assert!(
            text.contains(&topic) && text.contains("does not exist: declare"),
            "{text}"
        );
    }
}
