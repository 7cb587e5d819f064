//! Rows 54 to 57 and 59 to 61: envelopes that do not fit.

use serde::{Deserialize, Serialize};
use tidings::transport::Name;
use tidings::{AfterDeadLetter, Bus, Delivery, Event};
use tokio::sync::mpsc;

use crate::kit::{
    Calls, Logs, Order, SERVICE, assert_conserved, counting, dead, fields, fields_with,
    fields_without, lives_on, order, put, raw, refused, settled, shop, stats, within,
};

const BODY: &str = r#"{"order":"ord-1","cents":100}"#;

#[tokio::test]
async fn row_54_an_unknown_type_on_an_event_s_own_topic_is_dead_lettered() {
    let letter = refused(
        raw(fields_with("type", "order.cancelled"), BODY),
        "unknown_type",
    )
    .await;
    assert_eq!(letter.name(), Some("order.cancelled"));
    assert!(
        letter.error().contains("\"order.cancelled\""),
        "{}",
        letter.error()
    );
    assert!(
        letter.error().contains("topic \"order.placed\""),
        "{}",
        letter.error()
    );
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "parcel.sent", version = 1, topic = "parcels")]
struct ParcelSent {
    parcel: u64,
}

#[tokio::test]
async fn row_54_on_a_shared_topic_it_is_skipped_counted_and_logged_once() {
    let logs = Logs::capture();
    let (memory, bus) = shop().await;
    let calls = Calls::default();
    bus.with(calls.clone())
        .on(async |calls: Calls, _: ParcelSent| calls.one());
    let parcel = |name: &'static str| {
        let mut message = raw(fields_with("type", name), r#"{"parcel":1}"#);
        message.topic = Name::from_static("parcels");
        message.envelope = match message.envelope {
            tidings::transport::Carried::Raw(mut fields) => {
                fields.set("eventversion", "1");
                tidings::transport::Carried::Raw(fields)
            }
            local => local,
        };
        message
    };
    for name in [
        "parcel.lost",
        "parcel.lost",
        "parcel.found",
        "parcel.lost",
        "parcel.sent",
    ] {
        put(&memory, parcel(name)).await;
    }
    settled(&bus).await;
    assert_eq!((stats(&bus).skipped, calls.count()), (4, 1));
    assert!(dead(&bus).await.is_empty());
    assert_eq!(logs.with("said once per type").len(), 2, "{}", logs.text());
    assert_eq!(
        logs.with("said once per type")[0]
            .matches("parcel.lost")
            .count(),
        1
    );
    assert_conserved(&bus, 5);
}

#[tokio::test]
async fn row_55_a_future_version_has_a_reason_of_its_own() {
    for version in ["3", "4294967295"] {
        let letter = refused(
            raw(fields_with("eventversion", version), BODY),
            "future_version",
        )
        .await;
        let error = letter.error();
        assert!(error.contains(&format!("version {version}")), "{error}");
        assert!(error.contains("newer than version 2"), "{error}");
        assert_eq!(letter.fields().get_str("eventversion"), Some(version));
    }
}

#[tokio::test]
async fn row_55_by_policy_it_halts_the_group_and_loses_nothing() {
    let (memory, bus) = shop().await;
    let calls = Calls::default();
    let halts = bus
        .group("halts")
        .after_dead_letter(AfterDeadLetter::StopGroup);
    halts
        .with(calls.clone())
        .on(async |calls: Calls, _: Order| calls.one());
    put(&memory, raw(fields_with("eventversion", "3"), BODY)).await;
    within(async {
        while !halts.stats().unwrap().stopped {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bus.emit(order(2)).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 0, "halted");
    let letters = bus.dead_letters("halts").list().await.unwrap();
    assert_eq!((letters.len(), letters[0].reason()), (1, "future_version"));
    let lag = tidings::transport::Transport::lag(&memory, &halts.wire_name())
        .await
        .unwrap();
    assert_eq!(
        (lag[0].end, lag[0].settled),
        (2, 1),
        "the second one waits in its queue"
    );
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "user.moved", version = 2)]
struct MovedV2 {
    how: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "user.moved", version = 3, upcast_from = MovedV2)]
struct Moved {
    how: String,
}

impl TryFrom<MovedV2> for Moved {
    type Error = String;

    fn try_from(old: MovedV2) -> Result<Self, String> {
        match &*old.how {
            "refused" => Err(String::from("nowhere to go")),
            "panics" => panic!("lost on the way"),
            _ => Ok(Self { how: old.how }),
        }
    }
}

#[tokio::test]
async fn row_56_upcasts_that_are_missing_refused_or_panic_are_dead_lettered() {
    let (memory, bus) = shop().await;
    let calls = Calls::default();
    bus.with(calls.clone())
        .on(async |calls: Calls, _: Moved| calls.one());
    let moved = |version: &'static str, how: &str| {
        let mut fields = fields_with("type", Moved::NAME);
        fields.set("eventversion", version);
        fields.set("id", how.to_owned());
        let mut message = raw(fields, format!(r#"{{"how":"{how}"}}"#));
        message.topic = Name::from_static(Moved::NAME);
        message
    };
    for (version, how) in [
        ("1", "none"),
        ("2", "refused"),
        ("2", "panics"),
        ("2", "fine"),
    ] {
        put(&memory, moved(version, how)).await;
    }
    settled(&bus).await;
    let letters = dead(&bus).await;
    let expected = [
        "no upcaster leads from user.moved version 1",
        "nowhere to go",
        "lost on the way",
    ];
    assert_eq!(letters.len(), expected.len());
    for (letter, says) in letters.iter().zip(expected) {
        assert_eq!(letter.reason(), "upcast");
        assert!(letter.error().contains(says), "{}", letter.error());
        assert!(letter.bytes().starts_with(b"{\"how\":"), "the old bytes");
    }
    assert_eq!(calls.count(), 1);
    assert_conserved(&bus, 4);
}

#[tokio::test]
async fn row_57_a_version_that_is_none_is_dead_lettered_naming_it() {
    for version in [
        "abc",
        "-1",
        "18446744073709551616",
        "0",
        "",
        "1.5",
        "2 ",
        "+2",
    ] {
        let bad = raw(fields_with("eventversion", version), BODY);
        let letter = refused(bad, "malformed_envelope").await;
        assert!(
            letter.error().contains(&format!("{version:?}")),
            "{}",
            letter.error()
        );
        assert!(
            letter.error().contains("eventversion"),
            "{}",
            letter.error()
        );
        assert_eq!(letter.fields().get_str("eventversion"), Some(version));
    }
}

#[tokio::test]
async fn row_59_of_a_repeated_header_the_first_wins() {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            let region = order.header("region").map(str::to_owned);
            send.send((order.id().to_string(), order.headers().len(), region))
                .await
                .unwrap();
        });
    let mut fields = fields();
    for (name, value) in [("id", "evt-2"), ("type", "other"), ("eventversion", "abc")] {
        fields.push(Name::from_static(name), value);
    }
    fields.push("unknown", &b"\xff\x00"[..]);
    let mut repeated = raw(fields, BODY);
    repeated.headers.push("region", "eu");
    repeated.headers.push("region", &b"\xff"[..]);
    put(&memory, repeated).await;
    let (id, headers, region) = within(seen.recv()).await.unwrap();
    assert_eq!((&*id, headers, region.as_deref()), ("evt-1", 2, Some("eu")));
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

#[tokio::test]
async fn row_60_a_missing_or_empty_id_is_replaced_and_counted() {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.id().clone()).await.unwrap();
        });
    put(&memory, raw(fields_without("id"), BODY)).await;
    put(&memory, raw(fields_with("id", ""), BODY)).await;
    put(&memory, raw(fields(), BODY)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(within(seen.recv()).await.unwrap());
    }
    settled(&bus).await;
    assert!(ids.iter().all(|id| !id.to_string().is_empty()));
    assert_ne!(ids[0], ids[1], "two records without an id are two events");
    assert_eq!(stats(&bus).without_id, 2);
    assert_conserved(&bus, 3);
}

/// An id is opaque: any text is one, as long as it is text.
#[tokio::test]
async fn row_60_any_text_is_an_id() {
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    for id in ["a b", "\u{202e}x\r\n\0", &"i".repeat(9_000), "{}"] {
        put(&memory, raw(fields_with("id", id.to_owned()), BODY)).await;
    }
    settled(&bus).await;
    assert_eq!((calls.count(), stats(&bus).without_id), (4, 0));
    assert_conserved(&bus, 4);
}

#[tokio::test]
async fn row_61_one_id_with_another_payload_is_a_collision() {
    let (memory, bus) = shop().await;
    let calls = counting(&bus);
    put(&memory, raw(fields(), BODY)).await;
    settled(&bus).await;
    put(&memory, raw(fields(), BODY)).await;
    put(&memory, raw(fields(), r#"{"order":"ord-1","cents":999}"#)).await;
    settled(&bus).await;
    assert_eq!(
        (calls.count(), stats(&bus).duplicates),
        (1, 1),
        "the same payload is a duplicate"
    );
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), letters[0].reason()), (1, "id_collision"));
    assert!(
        letters[0].error().contains("evt-1"),
        "{}",
        letters[0].error()
    );
    assert_eq!(letters[0].bytes(), r#"{"order":"ord-1","cents":999}"#);
    lives_on(&memory, &bus, &calls).await;
    assert_conserved(&bus, 4);
}

#[tokio::test]
async fn row_61_the_same_holds_for_values_that_were_never_encoded() {
    let bus = Bus::builder(SERVICE).build().await.unwrap();
    let calls = counting(&bus);
    let other = Order {
        cents: 999,
        ..order(1)
    };
    for event in [order(1), order(1), other] {
        bus.emit(event).id("mine").await.unwrap();
        settled(&bus).await;
    }
    assert_eq!(
        (
            calls.count(),
            stats(&bus).duplicates,
            stats(&bus).dead_lettered
        ),
        (1, 1, 1)
    );
    assert_eq!(dead(&bus).await[0].reason(), "id_collision");
    assert_conserved(&bus, 3);
}
