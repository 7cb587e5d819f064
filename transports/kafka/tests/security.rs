//! TLS and SASL, on a broker that has both.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::process::ExitCode;
use std::time::Duration;

use tidings_conformance::{Broker, Trials};
use tidings_kafka::{Kafka, Sasl, Tls};
use tidings_transport::{ErrorKind, Origin, Transport, TransportError};

use kit::{message, only};

fn main() -> ExitCode {
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA_SASL_SSL"))
        .trial("every_mechanism_lets_the_right_password_in", right)
        .trial("row_21_a_wrong_password_is_an_auth_error", wrong_password)
        .trial("row_22_an_unknown_authority_is_named", unknown_authority)
        .trial("row_22_a_wrong_host_name_is_named", wrong_host)
        .trial("row_22_the_wrong_kind_of_port_is_an_error", wrong_port)
        .main()
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
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(error.to_string().contains("plain text"), "{error}");
    }
}
