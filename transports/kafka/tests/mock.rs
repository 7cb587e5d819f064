//! Publishing, against librdkafka's own mock cluster: what a real broker will not do on command
//! (trap 18: errors and delays can be injected, topics and groups are better tried on a real one).
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::{Duration, Instant};

use futures::future::join_all;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidings_kafka::Kafka;
use tidings_transport::{
    Batch, Consumer, Health, Mode, Name, Origin, PublishError, Reason, Receipt, Received, Start,
    Subscribe, Topics, Transport,
};

use kit::message;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> (Cluster, Kafka) {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = Kafka::new(cluster.bootstrap_servers()).linger(Duration::ZERO);
    (cluster, kafka)
}

async fn publish(kafka: &Kafka, topic: &str, key: &str) -> Result<Receipt, PublishError> {
    kafka
        .publish(message(topic, Some(key)), Origin::default())
        .await
}

/// Contract O7: keys go where Java's default partitioner puts them.
#[tokio::test]
async fn keys_go_to_the_partitions_that_java_chooses() {
    let (cluster, kafka) = cluster();
    for (partitions, of_order, of_number) in [(3, 1, 2), (6, 4, 5), (12, 4, 5)] {
        let topic = format!("keys-{partitions}");
        cluster.create_topic(&topic, partitions, 1).unwrap();
        for (key, expected) in [("ord_9921", of_order), ("123", of_number)] {
            let receipt = publish(&kafka, &topic, key).await.unwrap();
            let partition = receipt.position.unwrap().partition;
            assert_eq!(partition, expected, "{key} of {partitions}");
        }
    }
}

/// Trap 11, contract P5: a full local queue makes publishes wait, and none overtakes another.
#[tokio::test]
async fn a_full_local_queue_never_reorders_a_key() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("full", 3, 1).unwrap();
    let kafka = {
        let mut config = kafka.config().clone();
        config.buffered_messages = 10;
        Kafka::with_config(cluster.bootstrap_servers(), config)
    };
    let publishes = (0..1_000).map(|_| publish(&kafka, "full", "k"));
    let offsets: Vec<i64> = join_all(publishes)
        .await
        .into_iter()
        .map(|published| published.unwrap().position.unwrap().offset)
        .collect();
    assert_eq!(offsets, (0..1_000).collect::<Vec<_>>());
}

/// Contract P4: who gives up while it waits in the line was not published, and blocks nobody.
#[tokio::test]
async fn a_publish_that_is_dropped_in_the_line_was_not_published() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("dropped", 1, 1).unwrap();
    let mut config = kafka.config().clone();
    config.buffered_messages = 1;
    let kafka = Kafka::with_config(cluster.bootstrap_servers(), config);
    cluster
        .broker_round_trip_time(-1, Duration::from_millis(200))
        .unwrap();
    let mut first = Box::pin(publish(&kafka, "dropped", "k"));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(publish(&kafka, "dropped", "k"));
    assert!(futures::poll!(&mut second).is_pending());
    let mut third = Box::pin(publish(&kafka, "dropped", "k"));
    assert!(futures::poll!(&mut third).is_pending());
    drop(second);
    assert_eq!(first.await.unwrap().position.unwrap().offset, 0);
    assert_eq!(third.await.unwrap().position.unwrap().offset, 1);
}

/// Contract P1: no answer in time is Unknown, as the broker may have written it.
#[tokio::test]
async fn row_45_no_answer_in_time_is_unknown() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("slow", 1, 1).unwrap();
    let kafka = kafka.publish_deadline(Duration::from_secs(2));
    publish(&kafka, "slow", "k").await.unwrap();
    cluster
        .broker_round_trip_time(-1, Duration::from_secs(20))
        .unwrap();
    let error = publish(&kafka, "slow", "k").await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert!(matches!(error.reason(), Reason::Timeout), "{error:?}");
}

/// Contract P1: what found no room in time was never sent.
#[tokio::test]
async fn row_45_no_room_in_time_is_not_published() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("narrow", 1, 1).unwrap();
    let mut config = kafka.config().clone();
    config.buffered_messages = 1;
    config.publish_deadline = Duration::from_secs(2);
    let kafka = Kafka::with_config(cluster.bootstrap_servers(), config);
    publish(&kafka, "narrow", "k").await.unwrap();
    cluster
        .broker_round_trip_time(-1, Duration::from_secs(20))
        .unwrap();
    let both = [
        publish(&kafka, "narrow", "k"),
        publish(&kafka, "narrow", "k"),
    ];
    let errors: Vec<PublishError> = join_all(both)
        .await
        .into_iter()
        .map(Result::unwrap_err)
        .collect();
    assert!(errors[0].is_unknown(), "{:?}", errors[0]);
    assert!(!errors[1].is_unknown(), "{:?}", errors[1]);
    let text = errors[1].reason().to_string();
    assert!(text.contains("raise `buffered_messages`"), "{text}");
}

/// Contract P1: what the broker refused outright was not published, and the reason is its own.
#[tokio::test]
async fn a_refusal_by_the_broker_is_not_published() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("refused", 1, 1).unwrap();
    publish(&kafka, "refused", "k").await.unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let error = publish(&kafka, "refused", "k").await.unwrap_err();
    assert!(!error.is_unknown(), "{error:?}");
    let text = error.reason().to_string();
    assert!(
        text.contains("\"refused\"") && text.contains("give the user the right"),
        "{text}"
    );
}

/// Contract P2: an error that passes is retried by the client, without a second copy.
#[tokio::test]
async fn an_error_that_passes_is_retried_without_a_copy() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("passing", 1, 1).unwrap();
    publish(&kafka, "passing", "k").await.unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        ],
    );
    let offset = |receipt: Receipt| receipt.position.unwrap().offset;
    assert_eq!(offset(publish(&kafka, "passing", "k").await.unwrap()), 1);
    assert_eq!(offset(publish(&kafka, "passing", "k").await.unwrap()), 2);
}

/// What gives up idempotence publishes all the same, in order.
#[tokio::test]
async fn row_16_what_is_given_up_by_name_works() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("unsafe", 1, 1).unwrap();
    let open = || Kafka::new(cluster.bootstrap_servers());
    for kafka in [open().unsafe_acks_one(), open().unsafe_not_idempotent()] {
        let publishes = (0..100).map(|_| publish(&kafka, "unsafe", "k"));
        let offsets: Vec<i64> = join_all(publishes)
            .await
            .into_iter()
            .map(|published| published.unwrap().position.unwrap().offset)
            .collect();
        assert!(offsets.is_sorted(), "{offsets:?}");
    }
}

/// A producer that cannot go on is made anew: its publishes are Unknown, later ones are not.
#[tokio::test]
async fn a_fatal_error_rebuilds_the_producer() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("fatal", 1, 1).unwrap();
    let kafka = kafka.publish_deadline(Duration::from_secs(5));
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let error = publish(&kafka, "fatal", "k").await.unwrap_err();
    let text = error.reason().to_string();
    assert!(text.contains("fatal error and was made anew"), "{text}");
    publish(&kafka, "fatal", "k").await.unwrap();
}

/// Trap 12, contract S1: a close waits for reports; at its deadline the rest is Unknown and counted.
#[tokio::test]
async fn a_close_counts_what_it_could_not_flush() {
    let (cluster, kafka) = cluster();
    cluster.create_topic("left", 1, 1).unwrap();
    publish(&kafka, "left", "k").await.unwrap();
    cluster
        .broker_round_trip_time(-1, Duration::from_secs(20))
        .unwrap();
    let publishes = join_all((0..5).map(|_| publish(&kafka, "left", "k")));
    let close = async {
        tokio::task::yield_now().await;
        kafka.close(Duration::from_millis(300)).await.unwrap()
    };
    let (published, report) = futures::join!(publishes, close);
    let unknown = published
        .iter()
        .filter(|published| published.as_ref().is_err_and(PublishError::is_unknown))
        .count();
    assert_eq!(report.unflushed, unknown);
    assert!(published.iter().all(Result::is_err));
    assert_eq!(kafka.health(), Health::Closed);
}

/// Trap 16: librdkafka drops a consumer no sooner than its session is over where no broker is left to
/// take what it has stored. Whoever drops a member does not wait for that, and the thread that does
/// has an end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_drop_without_brokers_blocks_nobody() {
    /// As much of the thread's name as the system keeps.
    const THREAD: &str = "tidings-kafka-c";
    let (cluster, kafka) = cluster();
    cluster.create_topic("dropped-member", 1, 1).unwrap();
    let mut config = kafka.config().clone();
    config.session_timeout = Duration::from_secs(6);
    config.commit_interval = Duration::from_secs(3_600);
    let kafka = Kafka::with_config(cluster.bootstrap_servers(), config);
    publish(&kafka, "dropped-member", "k").await.unwrap();
    let subscribe = Subscribe {
        group: Name::from("g"),
        topics: Topics::exact(["dropped-member"]),
        start: Start::Earliest,
        mode: Mode::AtLeastOnce,
        window: 1,
        ordered: true,
    };
    let mut member = kafka.subscribe(subscribe).await.unwrap();
    let mut batch = Batch::default();
    while batch.is_empty() {
        member.receive(1, &mut batch).await.unwrap();
    }
    batch.drain().for_each(Received::ack);
    assert_eq!(threads(THREAD), 1);

    cluster.broker_down(1).unwrap();
    let dropped = std::thread::spawn(move || drop(member));
    let until = Instant::now() + Duration::from_secs(3);
    while !dropped.is_finished() {
        assert!(Instant::now() < until, "the drop waits for the session");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let until = Instant::now() + Duration::from_secs(60);
    while threads(THREAD) > 0 {
        assert!(Instant::now() < until, "the thread never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many threads of this process have this name.
#[cfg(target_os = "linux")]
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}
