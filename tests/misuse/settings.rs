//! Rows 14, 15, 17: settings that cannot work, all named at once.

use std::time::Duration;

use tidings::memory::Memory;
use tidings::{AfterDeadLetter, Bus, DedupPolicy, Mapping, PausePolicy, RetryPolicy};

use crate::kit::{Order, assert_conserved, order, settled};

#[tokio::test]
async fn row_14_a_misspelt_key_names_the_nearest_one() {
    for (url, key, meant) in [
        ("memory://?queu=1", "queu", "queue"),
        ("memory://?dead_leters=9", "dead_leters", "dead_letters"),
        (
            "memory://?queue=8&max_paylod=9",
            "max_paylod",
            "max_payload",
        ),
    ] {
        let error = Bus::connect("shop", url).await.unwrap_err();
        let problem = &error.problems()[0];
        assert!(
            problem.contains(&format!("unknown key {key:?}")),
            "{problem}"
        );
        assert!(
            problem.contains(&format!("did you mean `{meant}`?")),
            "{problem}"
        );
    }
    let error = Bus::connect("shop", "memory://?zzz=1&queue=many")
        .await
        .unwrap_err();
    assert_eq!(error.problems().len(), 2, "all at once: {error}");
    assert!(
        !error.problems()[0].contains("did you mean"),
        "nothing is near: {error}"
    );
    assert!(error.problems()[1].contains("queue is \"many\""), "{error}");
    let error = Bus::connect("shop", "memry://").await.unwrap_err();
    assert!(
        error.problems()[0].contains("did you mean `memory`?"),
        "{error}"
    );
}

#[test]
fn row_14_misspelt_keys_of_policies_are_errors() {
    let error = serde_json::from_str::<RetryPolicy>(r#"{"atempts":3}"#).unwrap_err();
    assert!(error.to_string().contains("`atempts`"), "{error}");
    assert!(
        error.to_string().contains("`attempts`"),
        "the valid ones: {error}"
    );
    let error = serde_json::from_str::<DedupPolicy>(r#"{"capcity":3}"#).unwrap_err();
    assert!(error.to_string().contains("`capcity`") && error.to_string().contains("`capacity`"));
    let error = serde_json::from_str::<PausePolicy>(r#"{"windw":"3s"}"#).unwrap_err();
    assert!(error.to_string().contains("`windw`") && error.to_string().contains("`window`"));
}

#[tokio::test]
async fn row_15_zeros_of_the_bus_are_refused_all_at_once() {
    let retry = RetryPolicy::exponential()
        .attempts(0)
        .base(Duration::from_secs(60))
        .factor(f64::NAN);
    let error = Bus::builder("shop")
        .concurrency(0)
        .deadline(Duration::ZERO)
        .drain(Duration::ZERO)
        .max_hops(0)
        .retry(retry)
        .pause(PausePolicy::default().finals(0))
        .dedup(DedupPolicy::default().capacity(0))
        .mapping(Mapping::new("orders", "event", "/data"))
        .build()
        .await
        .unwrap_err();
    for expected in [
        "concurrency is 0",
        "\"shop\": deadline is 0 s",
        "drain deadline is 0 s",
        "max hops is 0",
        "attempts is 0",
        "base 1min is longer than retry cap 30s",
        "factor is NaN",
        "finals is 0",
        "capacity",
        "\"event\" is no JSON pointer",
    ] {
        let named = error
            .problems()
            .iter()
            .filter(|problem| problem.contains(expected))
            .count();
        assert_eq!(named, 1, "{expected}: {error}");
    }
}

#[tokio::test]
async fn row_15_zeros_of_a_group_are_refused_at_start() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.group("billing")
        .concurrency(0)
        .window(0)
        .window_bytes(0)
        .queue(0)
        .on(async |_: Order| {});
    bus.group("parked")
        .after_dead_letter(AfterDeadLetter::ParkKey)
        .on(async |_: Order| {});
    let error = bus.start().await.unwrap_err();
    for expected in [
        "group \"shop.billing\": concurrency is 0",
        "group \"shop.billing\": window is 0",
        "group \"shop.billing\": window bytes is 0",
        "group \"shop.billing\": queue length is 0",
        "group \"shop.parked\": ParkKey",
    ] {
        assert!(
            error
                .problems()
                .iter()
                .any(|problem| problem.contains(expected)),
            "{error}"
        );
    }
    // Refused, not half alive: an emit hands the event back.
    let refused = bus.emit(order(1)).await.unwrap_err();
    assert!(refused.is_not_published());
    assert_eq!(refused.into_event().unwrap(), order(1));
}

#[tokio::test]
async fn row_15_zeros_of_the_transport_are_refused_by_build() {
    for (memory, setting) in [
        (Memory::new().queue(0), "queue is 0"),
        (Memory::new().dead_letters(0), "dead_letters is 0"),
        (
            Memory::new().publish_deadline(Duration::ZERO),
            "publish_deadline is 0",
        ),
    ] {
        let bus = Bus::builder("shop").transport(memory).build().await;
        let told = match bus {
            Err(error) => format!("{error:?}"),
            // The transport is somebody else's: the first registration tells at the latest.
            Ok(bus) => {
                bus.on(async |_: Order| {});
                format!("{:?}", bus.start().await.unwrap_err())
            }
        };
        assert!(told.contains(setting), "{told}");
    }
    let error = Bus::connect("shop", "memory://?queue=0&spill=0")
        .await
        .unwrap_err();
    assert!(error.problems()[0].contains("queue is 0"), "{error}");
}

#[tokio::test]
async fn row_17_dedup_shorter_than_the_retry_horizon_is_refused_with_both_numbers() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.group("billing")
        .deadline(Duration::from_secs(60))
        .retry(
            RetryPolicy::exponential()
                .attempts(20)
                .cap(Duration::from_secs(60)),
        )
        .dedup(DedupPolicy::default().window(Duration::from_secs(90)))
        .on(async |_: Order| {});
    let error = bus.start().await.unwrap_err();
    let problem = &error.problems()[0];
    // 20 attempts of 60 s, and backoffs of 0.1 s doubling to 60 s: 102.3 s, then nine times 60 s.
    assert!(problem.contains("90s"), "{problem}");
    assert!(problem.contains("1842300ms"), "{problem}");
    let long = Bus::builder("shop")
        .deadline(Duration::from_secs(60))
        .retry(
            RetryPolicy::exponential()
                .attempts(20)
                .cap(Duration::from_secs(60)),
        )
        .dedup(DedupPolicy::default().window(Duration::from_secs(7_200)))
        .build()
        .await
        .unwrap();
    long.on(async |_: Order| {});
    long.start().await.unwrap();
    long.emit(order(1)).await.unwrap();
    settled(&long).await;
    assert_conserved(&long, 1);
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn row_14_a_misspelt_key_of_a_kafka_url_names_the_nearest_one() {
    for (query, key, meant) in [
        ("partition=3", "partition", "partitions"),
        ("passwort_env=PATH", "passwort_env", "password_env"),
    ] {
        let url = format!("kafka://localhost:9092/?{query}");
        let error = Bus::connect("shop", &url).await.unwrap_err();
        let problem = &error.problems()[0];
        assert!(
            problem.contains(&format!("unknown key {key:?}")),
            "{problem}"
        );
        assert!(
            problem.contains(&format!("did you mean `{meant}`?")),
            "{problem}"
        );
    }
    let url = "kafka://localhost:9092/?linger=soon&compression=zip&partitions=0";
    let error = Bus::connect("shop", url).await.unwrap_err();
    let text = error.problems().join("; ");
    for wrong in [
        "linger is \"soon\": expected a duration",
        "compression is \"zip\": expected none, gzip, snappy or lz4",
        "partitions is 0",
    ] {
        assert!(text.contains(wrong), "all at once: {text}");
    }
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn row_18_a_kafka_url_that_is_none_or_holds_a_secret_is_refused() {
    for (url, said) in [
        ("kafka://", "is no Kafka server"),
        ("kafka://localhost", "is no Kafka server"),
        (
            "kafka://localhost:9092/orders",
            "topics come from event types",
        ),
        (
            "kafka://bob:canary@localhost:9092",
            "holds no user or password",
        ),
    ] {
        let error = Bus::connect("shop", url).await.unwrap_err();
        let text = format!("{} {error:?}", error.problems().join("; "));
        assert!(text.contains(said), "{url}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[cfg(feature = "kafka-ssl")]
#[tokio::test]
async fn row_18_the_security_of_a_kafka_url_is_all_there_or_named() {
    // Set for every test, and no secret.
    let variable = "CARGO_PKG_NAME";
    for (query, said) in [
        ("tls=yes", "tls is \"yes\""),
        ("tls=false&ca_file=ca.pem", "leave out one of them"),
        ("sasl=plain&user=bob", "belong together"),
        (
            "sasl=kerberos&user=bob&password_env=CARGO_PKG_NAME",
            "sasl is \"kerberos\"",
        ),
        (
            "sasl=plain&user=bob&password_env=NO_SUCH_VARIABLE",
            "\"NO_SUCH_VARIABLE\"",
        ),
        ("ca_file=/no/such/ca.pem", "/no/such/ca.pem"),
    ] {
        let url = format!("kafka://localhost:9092/?{query}");
        let error = Bus::connect("shop", &url).await.unwrap_err();
        let text = error.problems().join("; ");
        assert!(text.contains(said), "{query}: {text}");
    }
    let url = format!("kafka://broker.example:9092/?sasl=plain&user=bob&password_env={variable}");
    let error = Bus::connect("shop", &url).await.unwrap_err();
    let text = error.problems().join("; ");
    assert!(text.contains("without encryption"), "row 23: {text}");
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn row_91_a_url_sets_no_client_property_and_gives_up_no_promise() {
    let query = "acks=1&enable.auto.commit=true&unsafe_acks_one=true&partitions=3";
    let error = Bus::connect("shop", &format!("kafka://localhost:9092/?{query}"))
        .await
        .unwrap_err();
    let problems = error.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, name) in problems
        .iter()
        .zip(["acks", "enable.auto.commit", "unsafe_acks_one"])
    {
        let said = format!("{name:?}: it comes from code only");
        assert!(problem.contains(&said), "{problem}");
    }
}

#[cfg(not(feature = "kafka"))]
#[tokio::test]
async fn row_12_a_kafka_url_without_the_feature_names_it() {
    let error = Bus::connect("shop", "kafka://localhost:9092")
        .await
        .unwrap_err();
    assert!(
        error.problems()[0].contains("the feature `kafka`"),
        "{error}"
    );
}

#[cfg(all(feature = "kafka", not(feature = "kafka-ssl")))]
#[tokio::test]
async fn row_12_a_kafka_url_with_security_without_the_feature_names_it() {
    let url = "kafka://localhost:9092/?tls=true";
    let error = Bus::connect("shop", url).await.unwrap_err();
    assert!(
        error.problems()[0].contains("the feature `kafka-ssl`"),
        "{error}"
    );
}

#[tokio::test]
async fn row_27_what_keeps_less_than_one_may_think_is_a_finding() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let group = bus.group("careless").dead_letters(false);
    group.on(async |_: Order| {});
    bus.group("careful").on(async |_: Order| {});
    let findings = bus.doctor().await.unwrap();
    let [process, careless] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert!(
        process.contains("memory") && process.contains("what is queued is lost when it ends"),
        "{process}"
    );
    assert!(
        careless.contains("group \"shop.careless\" keeps no dead letters")
            && careless.contains("leave out `.dead_letters(false)`"),
        "{careless}"
    );
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    assert_eq!(bus.group("careful").stats().unwrap().completed, 1);
}
