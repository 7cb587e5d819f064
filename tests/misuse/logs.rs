//! Rows 73, 74: what strangers write ends up in logs and dead letters: cut, escaped, redacted.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::transport::Name;
use tidings::{Bus, Delivery, Event};

use crate::kit::{
    Logs, Order, assert_conserved, counting, dead, fields_with, order, put, raw, settled, shop,
};

const BODY: &str = r#"{"order":"ord-1","cents":100}"#;

/// Fails every event with this text; gives back what was kept and what was logged.
async fn failing_with(text: String) -> (String, String) {
    let logs = Logs::capture();
    let (_, bus) = shop().await;
    bus.with(text)
        .on(async |text: String, _: Order| Err::<(), _>(text));
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), letters[0].reason()), (1, "exhausted"));
    assert_conserved(&bus, 1);
    (letters[0].error().to_owned(), logs.text())
}

#[tokio::test]
async fn row_73_a_huge_error_text_is_cut_to_1_kib() {
    let (kept, logged) = failing_with("ä".repeat(5_000_000)).await;
    assert!(
        kept.len() <= 1_024 && kept.ends_with('…'),
        "{} bytes",
        kept.len()
    );
    assert!(kept.starts_with("ää"));
    assert!(logged.len() < 64 * 1_024, "{} bytes logged", logged.len());
}

/// An error that is its own cause.
#[derive(Debug)]
struct Circle;

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("round and round")
    }
}

impl std::error::Error for Circle {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self)
    }
}

#[tokio::test]
async fn row_73_an_endless_chain_of_causes_is_cut_too() {
    let (_, bus) = shop().await;
    bus.on(async |_: Order| Err::<(), _>(Circle));
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert!(
        letters[0]
            .error()
            .starts_with("round and round: round and round")
    );
    assert!(letters[0].error().len() <= 1_024);
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_73_escape_codes_and_secrets_in_an_error_are_escaped_and_masked() {
    let nasty = "bad \u{1b}[31mred\r\nFAKE line \u{202e}gnp\0 \
                 at amqp://bob:hunter2@host/x password=hunter2 token: hunter2 \
                 {\"secret\":\"hunter2\"} Authorization: Bearer hunter2";
    let (kept, logged) = failing_with(nasty.to_owned()).await;
    for text in [&kept, &logged] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\0', '\r']), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("FAKE")), "{text}");
        assert!(text.contains("amqp://***@host/x"), "{text}");
    }
    assert!(
        kept.contains("\\u{1b}[31mred\\u{d}\\u{a}FAKE line"),
        "{kept}"
    );
}

#[tokio::test]
async fn row_73_a_panic_s_text_is_treated_the_same() {
    let logs = Logs::capture();
    let (_, bus) = shop().await;
    bus.on(async |_: Order| panic!("\u{1b}[2Jpassword=hunter2 {}", "x".repeat(100_000)));
    bus.listen(|_: &Order| panic!("\u{1b}[2Jpassword=hunter2 {}", "x".repeat(100_000)));
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    let (kept, logged) = (letters[0].error(), logs.text());
    assert_eq!(letters[0].reason(), "panicked");
    assert!(
        kept.len() <= 1_024 && logged.len() < 64 * 1_024,
        "{} bytes",
        logged.len()
    );
    for text in [kept, &*logged] {
        assert!(
            !text.contains("hunter2") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
    assert_eq!(logs.with("listener failed").len(), 1);
}

const NASTY: &str = "x\r\nFAKE\u{1b}[31m\u{202e}\u{2066}\u{85}";

fn assert_one_line_each(text: &str) {
    assert!(
        !text.contains(['\u{1b}', '\u{202e}', '\u{2066}', '\u{85}', '\r']),
        "{text}"
    );
    assert!(!text.lines().any(|line| line.starts_with("FAKE")), "{text}");
}

#[tokio::test]
async fn row_74_ids_keys_and_headers_of_an_event_of_ours_are_escaped_in_logs() {
    let logs = Logs::capture();
    let (_, bus) = shop().await;
    bus.on(async |delivery: Delivery<Order>| {
        tracing::info!(?delivery, "mine");
        Err::<(), _>("declined")
    });
    let emit = bus.emit(order(1)).id(NASTY).key(NASTY).correlation(NASTY);
    emit.header("h", NASTY).await.unwrap();
    settled(&bus).await;
    let text = logs.text();
    assert!(
        text.contains("handler failed") && text.contains("event dead-lettered"),
        "{text}"
    );
    assert!(text.contains("x\\u{d}\\u{a}FAKE"), "{text}");
    assert_one_line_each(&text);
    let letters = dead(&bus).await;
    assert_eq!(
        letters[0].id().unwrap().to_string(),
        NASTY,
        "the letter itself keeps the bytes"
    );
    assert_eq!(letters[0].key().unwrap(), NASTY);
    assert_eq!(letters[0].headers().get_str("h"), Some(NASTY));
    assert_one_line_each(&format!("{:?}", letters[0]));
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_74_every_field_of_a_foreign_envelope_is_escaped_in_logs() {
    let logs = Logs::capture();
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    let fields = [
        "id",
        "source",
        "type",
        "time",
        "correlationid",
        "causationid",
        "eventversion",
    ];
    let others = ["traceparent", "tracestate", "eventhops", "datacontenttype"];
    for name in fields.into_iter().chain(others) {
        put(&memory, raw(fields_with(name, NASTY), BODY)).await;
    }
    let mut keyed = raw(fields_with("id", "k"), BODY);
    keyed.key = Some(Bytes::from_static(NASTY.as_bytes()));
    keyed
        .headers
        .push(Name::from_static("tidings-reason"), NASTY);
    put(&memory, keyed).await;
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!(
        letters.len() as u64,
        12 - calls.count() - crate::kit::stats(&bus).duplicates
    );
    assert_one_line_each(&logs.text());
    for letter in &letters {
        assert_one_line_each(letter.error());
        assert_one_line_each(&format!("{letter:?}"));
    }
    assert_conserved(&bus, 12);
}

#[tokio::test]
async fn row_74_errors_that_name_such_a_value_escape_it() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.on(async |_: Order| {});
    let error = bus
        .emit(order(1))
        .header(NASTY, "x")
        .id(NASTY)
        .await
        .unwrap_err();
    assert_one_line_each(&format!("{error} {error:?} {}", error.reason()));
    let error = Bus::builder(NASTY).build().await.unwrap_err();
    assert_one_line_each(&error.to_string().replace("\n  - ", " "));
    let refused = bus.group("g").named(NASTY).on(async |_: Order| {});
    assert!(refused.is_accepted());
    assert!(
        !bus.group("g")
            .named(NASTY)
            .on(async |_: Order| {})
            .is_accepted()
    );
    let error = bus.start().await.unwrap_err();
    assert_one_line_each(&error.problems()[0]);
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "user.signed_up", version = 1)]
struct SignedUp {
    mail: String,
}

/// Whatever goes wrong with it, no payload is logged.
#[tokio::test]
async fn row_73_no_payload_is_ever_logged() {
    let logs = Logs::capture();
    let (memory, bus) = shop().await;
    bus.named("fails")
        .on(async |_: SignedUp| Err::<(), _>("declined"));
    bus.named("panics").on(async |_: SignedUp| panic!("no"));
    bus.listen(|_: &SignedUp| panic!("no"));
    let mail = String::from("canary@example.org");
    bus.emit(SignedUp { mail: mail.clone() }).await.unwrap();
    bus.emit(SignedUp { mail: mail.clone() })
        .id("twice")
        .await
        .unwrap();
    let signed = |body: String| {
        let mut message = raw(fields_with("type", SignedUp::NAME), body);
        message.topic = Name::from_static(SignedUp::NAME);
        message
    };
    for body in [
        format!(r#"{{"mail":["{mail}"]}}"#),
        format!(r#"{{"mail":"{mail}""#),
        format!(r#"{{"mail":"{mail}","mail":"{mail}"}}"#),
        format!(r#""{mail}""#),
    ] {
        put(&memory, signed(body)).await;
    }
    settled(&bus).await;
    assert!(logs.text().contains("event dead-lettered"));
    assert!(!logs.text().contains("canary"), "{}", logs.text());
    for letter in dead(&bus).await {
        assert!(!letter.error().contains("canary"), "{}", letter.error());
        assert!(!format!("{letter:?}").contains("canary"));
    }
    let refused = bus
        .emit(SignedUp { mail })
        .key("k".repeat(5_000))
        .await
        .unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("canary"));
}
