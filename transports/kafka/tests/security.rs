//! TLS and SASL, on a broker that has both.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;
#[path = "kit/raw.rs"]
mod raw;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tidings_conformance::{Broker, Trials};
use tidings_kafka::{Kafka, Sasl, Tls};
use tidings_transport::{
    Batch, Consumer, Declare, ErrorKind, Mode, Name, Origin, Reason, Start, Subscribe, Topics,
    Transport, TransportError,
};

use kit::{message, only};
use raw::{Resource, deny};

/// Where the listener with TLS is, as `host:port`.
const LISTENER: &str = "TIDINGS_TEST_KAFKA_SASL_SSL";

fn main() -> ExitCode {
    let trials = Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"));
    trials
        .trial_with(
            LISTENER,
            "every_mechanism_lets_the_right_password_in",
            |_| right(listener()),
        )
        .trial_with(LISTENER, "row_21_a_wrong_password_is_an_auth_error", |_| {
            wrong_password(listener())
        })
        .trial_with(LISTENER, "row_22_an_unknown_authority_is_named", |_| {
            unknown_authority(listener())
        })
        .trial_with(LISTENER, "row_22_a_wrong_host_name_is_named", |_| {
            wrong_host(listener())
        })
        .trial_with(
            LISTENER,
            "row_22_the_wrong_kind_of_port_is_an_error",
            |_| wrong_port(listener()),
        )
        .trial_with(
            LISTENER,
            "row_26_a_topic_that_is_kept_back_is_forbidden_by_name",
            |_| forbidden_topic(listener()),
        )
        .trial_with(
            LISTENER,
            "row_26_a_group_that_is_kept_back_is_forbidden_by_name",
            |_| forbidden_group(listener()),
        )
        .main()
}

fn listener() -> String {
    std::env::var(LISTENER).expect("it is set")
}

fn kafka(servers: &str) -> Kafka {
    Kafka::new(servers)
        .partitions(1)
        .connect_timeout(Duration::from_secs(5))
}

fn trusting() -> Tls {
    Tls::new().ca_file(std::env::var_os("TIDINGS_TEST_KAFKA_CA").expect("set beside its server"))
}

fn alice() -> Sasl {
    Sasl::plain("alice", "alice-secret")
}

async fn refused(kafka: Kafka) -> TransportError {
    kafka.declare(&only("secured")).await.unwrap_err()
}

async fn right(servers: String) {
    for sasl in [
        alice(),
        Sasl::scram_sha_256("bob", "bob-secret"),
        Sasl::scram_sha_512("bob", "bob-secret"),
    ] {
        let kafka = kafka(&servers).tls(trusting()).sasl(sasl);
        kafka.declare(&only("secured")).await.unwrap();
        let message = message("secured", None);
        let receipt = kafka.publish(message, Origin::default()).await.unwrap();
        assert!(receipt.position.is_some());
        kafka.close(Duration::from_secs(2)).await.unwrap();
    }
}

async fn wrong_password(servers: String) {
    for sasl in [
        Sasl::plain("alice", "guess"),
        Sasl::scram_sha_512("bob", "guess"),
    ] {
        let error = refused(kafka(&servers).tls(trusting()).sasl(sasl)).await;
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(!error.is_retryable());
        let text = error.to_string();
        assert!(text.contains("user or password"), "{text}");
        assert!(!text.contains("guess"), "{text}");
    }
}

async fn unknown_authority(servers: String) {
    let error = refused(kafka(&servers).tls(Tls::new()).sasl(alice())).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("`Tls::ca_file`"), "{error}");
}

async fn wrong_host(servers: String) {
    // Another way to write 127.0.0.1, which no certificate names.
    let servers = servers.replace("localhost", "127.1");
    let error = refused(kafka(&servers).tls(trusting()).sasl(alice())).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("another host name"), "{error}");

    let tls = trusting().danger_accept_any_host_name();
    let anyone = kafka(&servers).tls(tls).sasl(alice());
    anyone.declare(&only("secured")).await.unwrap();
}

async fn wrong_port(servers: String) {
    let error = refused(kafka(&servers)).await;
    assert!(
        matches!(error.kind(), ErrorKind::Connection | ErrorKind::Auth),
        "{error}"
    );
    assert!(error.to_string().contains(&servers), "{error}");
    if let Ok(url) = std::env::var("TIDINGS_TEST_KAFKA") {
        let plain = url.trim_start_matches("kafka://");
        let error = refused(kafka(plain).tls(trusting())).await;
        // A broker may hang up without a word, as one does that is going down.
        assert!(
            matches!(error.kind(), ErrorKind::Connection | ErrorKind::Auth),
            "{error}"
        );
        assert!(error.to_string().contains("plain text"), "{error}");
    }
}

/// The listener in plain text, whose users may do anything.
fn plain() -> String {
    let url = std::env::var("TIDINGS_TEST_KAFKA").expect("set beside the other listener");
    url.trim_start_matches("kafka://").to_owned()
}

fn unique(what: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    format!("{what}-{}-{}", since.as_micros(), std::process::id())
}

fn subscribe(topic: &str, group: &str) -> Subscribe {
    Subscribe {
        group: Name::from(group),
        topics: Topics::exact([topic.to_owned()]),
        start: Start::Earliest,
        mode: Mode::AtLeastOnce,
        window: 1,
        ordered: true,
    }
}

fn is_forbidden(error: &TransportError, resource: &str) {
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(
        text.contains(resource) && text.contains("give the user the right"),
        "{text}"
    );
}

async fn forbidden_topic(servers: String) {
    let (topic, group) = (unique("kept-back"), unique("readers"));
    kafka(&plain()).declare(&only(&topic)).await.unwrap();
    let alice = || kafka(&servers).tls(trusting()).sasl(alice());
    let mut verify = only(&topic);
    verify.declare = Declare::Verify;
    alice().declare(&verify).await.unwrap();
    // Knows the topic from before.
    let member = alice();

    deny(&plain(), "alice", Resource::Topic(&topic));
    // The broker follows its own log of such rules, a moment later.
    let error = loop {
        match alice().declare(&verify).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    is_forbidden(&error, &topic);
    // Mode create: it is there, so it is not made, and she may not see it.
    let error = alice().declare(&only(&topic)).await.unwrap_err();
    is_forbidden(&error, &topic);
    let error = member
        .subscribe(subscribe(&topic, &group))
        .await
        .unwrap_err();
    is_forbidden(&error, &topic);
    let alice = alice();
    let publish = alice.publish(message(&topic, None), Origin::default());
    let error = publish.await.unwrap_err();
    assert!(!error.is_unknown(), "{error:?}");
    match error.reason() {
        Reason::Transport(error) => is_forbidden(error, &topic),
        other => panic!("{other:?}"),
    }
}

async fn forbidden_group(servers: String) {
    let (topic, group) = (unique("open"), unique("kept-back"));
    kafka(&plain()).declare(&only(&topic)).await.unwrap();
    deny(&plain(), "alice", Resource::Group(&group));
    let alice = kafka(&servers).tls(trusting()).sasl(alice());
    let error = loop {
        let mut member = alice.subscribe(subscribe(&topic, &group)).await.unwrap();
        let mut batch = Batch::default();
        // Joined before the broker knew the rule, nothing would ever come: then once more.
        let heard = member.receive(1, &mut batch);
        match tokio::time::timeout(Duration::from_secs(10), heard).await {
            Ok(heard) => break heard.unwrap_err(),
            Err(_) => drop(member),
        }
    };
    is_forbidden(&error, &group);
}
