//! What only a real broker does.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings_conformance::{Broker, Trials};
use tidings_kafka::{Kafka, KafkaConsumer};
use tidings_transport::{
    Batch, Carried, Consumer, Declare, ErrorKind, GroupTopology, Headers, Message, Mode, Name,
    Origin, Payload, Start, Subscribe, Topics, Topology, Transport,
};

fn main() -> ExitCode {
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .trial("an_offset_that_retention_passed_is_data_loss", data_loss)
        .trial("row_93_topics_that_differ_only_in_dots_are_named", twins)
        .trial("a_topic_that_is_too_small_is_a_conflict", too_small)
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

/// Contract D7: never skipped in silence.
async fn data_loss(url: String) {
    let (topic, group) = (unique("lossy"), unique("readers"));
    let kafka = kafka(&url);
    kafka.declare(&topology(&topic, &group)).await.unwrap();
    for _ in 0..10 {
        let message = Message {
            topic: Name::from(topic.as_str()),
            key: None,
            envelope: Carried::Raw(Headers::new()),
            headers: Headers::new(),
            payload: Payload::Bytes("{}".into()),
            delay: None,
        };
        kafka.publish(message, Origin::default()).await.unwrap();
    }
    let mut member = join(&kafka, &topic, &group).await;
    let mut batch = Batch::default();
    while batch.len() < 10 {
        member.receive(64, &mut batch).await.unwrap();
    }
    batch.drain().take(2).for_each(|received| received.ack());
    member.close(Duration::from_secs(10)).await.unwrap();

    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&topic, 0, Offset::Offset(8))
        .unwrap();
    admin(&url)
        .delete_records(&gone, &AdminOptions::new())
        .await
        .unwrap();

    let mut member = join(&kafka, &topic, &group).await;
    let error = loop {
        match member.receive(64, &mut batch).await {
            Ok(signal) => assert!(batch.is_empty(), "{signal:?}: {batch:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains(&group), "{error}");
}

async fn twins(url: String) {
    let name = unique("twin");
    let kafka = kafka(&url);
    let topics = |name: String| Topology {
        topics: vec![Name::from(name)],
        ..Topology::default()
    };
    kafka.declare(&topics(format!("{name}.a"))).await.unwrap();
    let error = kafka
        .declare(&topics(format!("{name}_a")))
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
    let mut topology = Topology {
        topics: vec![Name::from(topic.as_str())],
        ..Topology::default()
    };
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
