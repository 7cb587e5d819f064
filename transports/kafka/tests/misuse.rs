//! Bad input and misuse that need no broker, by their rows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidings_kafka::{Kafka, KafkaConfig};
use tidings_transport::{
    ErrorKind, GroupTopology, Message, Mode, Name, Origin, Payload, PublishError, Reason, Start,
    Subscribe, Topics, Transport, TryPublish,
};

use kit::{message, only};

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

fn nobody() -> Kafka {
    Kafka::new(NOBODY).connect_timeout(Duration::from_secs(1))
}

/// Refused at once, by both ways to publish: nothing was sent, for there is nobody to send it to.
async fn refused(message: Message) -> PublishError {
    let kafka = nobody();
    match kafka.try_publish(message.clone(), &Origin::default()) {
        TryPublish::Refused(error, _) => assert!(!error.is_unknown()),
        other => panic!("{other:?}"),
    }
    let error = kafka.publish(message, Origin::default()).await.unwrap_err();
    assert!(!error.is_unknown());
    error
}

#[test]
fn row_15_settings_out_of_range_are_listed() {
    let mut config = KafkaConfig::default();
    config.partitions = 0;
    config.commit_every = 0;
    config.publish_deadline = Duration::ZERO;
    let error = Kafka::with_config(NOBODY, config).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    for name in [
        "partitions is 0",
        "commit_every is 0",
        "publish_deadline is 0",
    ] {
        assert!(text.contains(name), "{text}");
    }
}

/// Traps 3 and 13: what the offsets of a group rest on is not for sale.
#[test]
fn row_16_what_breaks_the_contract_is_refused_with_what_there_is_instead() {
    for (name, value, instead) in [
        ("acks", "1", "`unsafe_acks_one()`"),
        ("request.required.acks", "0", "`unsafe_acks_one()`"),
        ("enable.idempotence", "false", "`unsafe_not_idempotent()`"),
        ("enable.auto.commit", "true", "`commit_interval`"),
        ("enable.auto.offset.store", "true", "`at_most_once()`"),
        ("auto.commit.enable", "true", "`at_most_once()`"),
        ("auto.offset.reset", "latest", "`start_at`"),
        ("partitioner", "random", "Java"),
        ("isolation.level", "read_uncommitted", "never published"),
        ("check.crcs", "false", "broken record"),
        ("partition.assignment.strategy", "range", "`group_protocol`"),
        ("group.id", "other", "on the bus"),
        ("allow.auto.create.topics", "true", "`Declare`"),
        ("sasl.password", "canary", "use `sasl`"),
    ] {
        let error = Kafka::new(NOBODY)
            .property(name, value)
            .check()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(
            text.contains(&format!("client property {name} is not yours"))
                && text.contains(instead),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn row_16_properties_that_are_none_are_named_all_at_once() {
    let wrong = Kafka::new(NOBODY)
        .property("client.rack", "eu-west-1a")
        .property("fetch.min.byte", "1")
        .property("fetch.wait.max.ms", "soon")
        .partitions(0);
    let text = wrong.check().unwrap_err().to_string();
    for part in ["fetch.min.byte", "fetch.wait.max.ms", "partitions is 0"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("client.rack"), "{text}");
}

#[tokio::test]
async fn row_16_a_property_that_is_refused_is_refused_by_the_first_use() {
    let kafka = nobody().property("enable.auto.commit", "true");
    let error = kafka.declare(&only("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let publish = kafka.publish(message("orders", None), Origin::default());
    let reason = publish.await.unwrap_err().into_reason().to_string();
    assert!(reason.contains("enable.auto.commit"), "{reason}");
}

#[test]
fn row_75_values_of_properties_are_not_shown() {
    let kafka = Kafka::new(NOBODY).property("sasl.oauthbearer.client.secret", "canary");
    let shown = format!("{kafka:?}");
    assert!(
        shown.contains("sasl.oauthbearer.client.secret") && !shown.contains("canary"),
        "{shown}"
    );
}

#[test]
fn row_18_servers_that_are_none_are_named() {
    for (servers, shown) in [
        ("", "\"\" is no Kafka server"),
        ("localhost", "\"localhost\" is no Kafka server"),
        ("a:9092,b:0", "\"b:0\" is no Kafka server"),
        ("a:9092,:9092", "\":9092\" is no Kafka server"),
    ] {
        let text = Kafka::new(servers).check().unwrap_err().to_string();
        assert!(text.contains(shown), "{text}");
    }
    Kafka::new("a:9092, b:9092,[::1]:9092").check().unwrap();
}

/// Trap 17: librdkafka would go on trying and say nothing.
#[tokio::test]
async fn row_19_an_absent_broker_is_an_error_with_address_and_cause() {
    let kafka = nobody();
    let limit = kafka.config().connect_timeout + Duration::from_secs(5);
    let asked = tokio::time::timeout(limit, kafka.declare(&only("orders"))).await;
    let error = asked.expect("within the connect time").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(NOBODY) && text.contains("refused"), "{text}");
    let health = kafka.health().to_string();
    assert!(health.starts_with("connecting: "), "{health}");
}

#[tokio::test]
async fn row_20_a_host_without_an_address_is_an_error_that_names_it() {
    let kafka = Kafka::new("no-such-host.invalid:9092").connect_timeout(Duration::from_secs(1));
    let error = kafka.declare(&only("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let text = error.to_string();
    assert!(text.contains("no-such-host.invalid"), "{text}");
    assert!(text.contains("resolve"), "{text}");
}

#[tokio::test]
async fn row_29_an_illegal_topic_is_refused_before_any_io() {
    let long = "x".repeat(250);
    for name in ["größe", "a b", "", ".", "..", &long] {
        let error = nobody().declare(&only(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("249"), "{error}");
        let reason = refused(message(name, None)).await.into_reason();
        assert!(matches!(reason, Reason::Invalid(_)), "{reason}");
    }
    let mut two = only("a\nb");
    two.groups.push(GroupTopology {
        name: Name::from("g\n"),
        topics: Topics::exact(["c/d"]),
        ordered: true,
        start: Start::Earliest,
        dead_letters: Some(Name::from("g\n.dead")),
        queue: None,
    });
    let text = nobody().declare(&two).await.unwrap_err().to_string();
    for wrong in ["a\\nb", "c/d", "g\\n"] {
        assert!(text.contains(wrong), "all at once: {text}");
    }
}

#[test]
fn row_33_a_publish_without_a_runtime_is_an_error() {
    let kafka = nobody();
    let mut publish = pin!(kafka.publish(message("orders", None), Origin::default()));
    match publish
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Err(error)) => {
            assert!(!error.is_unknown());
            assert!(error.reason().to_string().contains("needs a tokio runtime"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn row_34_a_payload_over_the_limit_is_refused_before_any_io() {
    let mut large = message("orders", None);
    large.payload = Payload::Bytes(vec![b'x'; 1024 * 1024 + 1].into());
    let reason = refused(large).await.into_reason();
    assert!(
        matches!(
            reason,
            Reason::TooLarge {
                size: 1_048_577,
                limit: 1_048_576
            }
        ),
        "{reason}"
    );
}

#[tokio::test]
async fn row_35_headers_that_cannot_be_carried_are_refused_before_any_io() {
    let large = "x".repeat(17 * 1024);
    // The last two would be read as the event's own attributes.
    for (name, value) in [
        ("a\r\nb", "x"),
        ("", "x"),
        ("large", &*large),
        ("ce_id", "x"),
        ("content-type", "x"),
    ] {
        let mut wrong = message("orders", None);
        wrong.headers.push(name, value.to_owned());
        let reason = refused(wrong).await.into_reason();
        assert!(matches!(reason, Reason::Header(_)), "{name:?}: {reason}");
    }
}

#[tokio::test]
async fn row_38_a_key_over_the_limit_is_refused_before_any_io() {
    let mut wrong = message("orders", None);
    wrong.key = Some(vec![0; 1024 * 1024].into());
    let reason = refused(wrong).await.into_reason();
    assert!(
        reason.to_string().contains("key of 1048576 bytes"),
        "{reason}"
    );
}

#[tokio::test]
async fn row_43_a_closed_transport_takes_nothing_and_says_so() {
    let kafka = nobody();
    kafka.close(Duration::from_secs(1)).await.unwrap();
    let publish = kafka
        .publish(message("orders", None), Origin::default())
        .await;
    assert!(matches!(publish.unwrap_err().into_reason(), Reason::Closed));
    let error = kafka.declare(&only("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let subscribe = Subscribe {
        group: Name::from("g"),
        topics: Topics::exact(["orders"]),
        start: Start::Earliest,
        mode: Mode::AtLeastOnce,
        window: 1,
        ordered: true,
    };
    let error = kafka.subscribe(subscribe).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn what_kafka_cannot_do_is_refused_by_name() {
    let mut later = message("orders", None);
    later.delay = Some(Duration::from_secs(1));
    let reason = refused(later).await.into_reason();
    assert!(matches!(reason, Reason::Unsupported(_)), "{reason}");
    assert!(reason.to_string().contains("leave out `after`"), "{reason}");
}

#[cfg(feature = "ssl")]
#[test]
fn row_23_a_password_in_plain_text_stays_on_the_machine() {
    use tidings_kafka::Sasl;

    let sasl = || Sasl::plain("alice", "canary-secret");
    let text = Kafka::new("localhost:9092,broker.example:9092")
        .sasl(sasl())
        .check()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("broker.example") && text.contains("tls("),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    for server in ["localhost:9092", "127.0.0.1:9092", "[::1]:9092"] {
        Kafka::new(server).sasl(sasl()).check().unwrap();
    }
    Kafka::new("broker.example:9092")
        .sasl(sasl())
        .danger_password_in_plain_text()
        .check()
        .unwrap();
}

#[cfg(feature = "ssl")]
#[test]
fn row_75_secrets_are_not_shown() {
    use tidings_kafka::{Sasl, Tls};

    let kafka = Kafka::new("broker:9093")
        .tls(Tls::new())
        .sasl(Sasl::scram_sha_256("alice", "canary-secret"));
    let shown = format!("{kafka:?}");
    assert!(
        shown.contains("alice") && !shown.contains("canary"),
        "{shown}"
    );
}

#[cfg(feature = "ssl")]
#[test]
fn row_22_files_that_cannot_be_read_are_named() {
    use tidings_kafka::Tls;

    let text = Kafka::new("broker:9093")
        .tls(Tls::new().ca_file("/no/such/ca.pem"))
        .check()
        .unwrap_err()
        .to_string();
    assert!(text.contains("ca_file /no/such/ca.pem"), "{text}");
}
