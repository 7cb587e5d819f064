//! Rows 54 to 57, 59 to 61, 64 to 66: envelopes that do not fit, or lie.

use serde::{Deserialize, Serialize};
use tidings::transport::{EventId, Headers, Name};
use tidings::{AfterDeadLetter, Bus, Delivery, Event};
use tokio::sync::mpsc;

use crate::kit::{
    Calls, Logs, Order, SERVICE, assert_conserved, counting, dead, fields, fields_with,
    fields_without, lives_on, order, put, raw, refused, settled, shop, stats, within,
};

const BODY: &str = r#"{"order":"ord-1","cents":100}"#;

#[tokio::test]
async fn row_54_an_unknown_type_on_an_event_s_own_topic_is_dead_lettered() {
    let letter = refused(raw(fields_with("type", "order.cancelled"), BODY), "unknown_type").await;
    assert_eq!(letter.name(), Some("order.cancelled"));
    assert!(letter.error().contains("\"order.cancelled\""), "{}", letter.error());
    assert!(letter.error().contains("topic \"order.placed\""), "{}", letter.error());
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
    bus.with(calls.clone()).on(async |calls: Calls, _: ParcelSent| calls.one());
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
    for name in ["parcel.lost", "parcel.lost", "parcel.found", "parcel.lost", "parcel.sent"] {
        put(&memory, parcel(name)).await;
    }
    settled(&bus).await;
    assert_eq!((stats(&bus).skipped, calls.count()), (4, 1));
    assert!(dead(&bus).await.is_empty());
    assert_eq!(logs.with("said once per type").len(), 2, "{}", logs.text());
    assert_eq!(logs.with("said once per type")[0].matches("parcel.lost").count(), 1);
    assert_conserved(&bus, 5);
}

#[tokio::test]
async fn row_55_a_future_version_has_a_reason_of_its_own() {
    for version in ["3", "4294967295"] {
        let letter = refused(raw(fields_with("eventversion", version), BODY), "future_version").await;
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
    let halts = bus.group("halts").after_dead_letter(AfterDeadLetter::StopGroup);
    halts.with(calls.clone()).on(async |calls: Calls, _: Order| calls.one());
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
    let lag = tidings::transport::Transport::lag(&memory, &halts.wire_name()).await.unwrap();
    assert_eq!((lag[0].end, lag[0].settled), (2, 1), "the second one waits in its queue");
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
    bus.with(calls.clone()).on(async |calls: Calls, _: Moved| calls.one());
    let moved = |version: &'static str, how: &str| {
        let mut fields = fields_with("type", Moved::NAME);
        fields.set("eventversion", version);
        fields.set("id", how.to_owned());
        let mut message = raw(fields, format!(r#"{{"how":"{how}"}}"#));
        message.topic = Name::from_static(Moved::NAME);
        message
    };
    for (version, how) in [("1", "none"), ("2", "refused"), ("2", "panics"), ("2", "fine")] {
        put(&memory, moved(version, how)).await;
    }
    settled(&bus).await;
    let letters = dead(&bus).await;
    let expected = ["no upcaster leads from user.moved version 1", "nowhere to go", "lost on the way"];
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
    for version in ["abc", "-1", "18446744073709551616", "0", "", "1.5", "2 ", "+2"] {
        let bad = raw(fields_with("eventversion", version), BODY);
        let letter = refused(bad, "malformed_envelope").await;
        assert!(letter.error().contains(&format!("{version:?}")), "{}", letter.error());
        assert!(letter.error().contains("eventversion"), "{}", letter.error());
        assert_eq!(letter.fields().get_str("eventversion"), Some(version));
    }
}

#[tokio::test]
async fn row_59_of_a_repeated_header_the_first_wins() {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send).on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
        let region = order.header("region").map(str::to_owned);
        send.send((order.id().to_string(), order.headers().len(), region)).await.unwrap();
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
    bus.with(send).on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
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
    assert_eq!((calls.count(), stats(&bus).duplicates), (1, 1), "the same payload is a duplicate");
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), letters[0].reason()), (1, "id_collision"));
    assert!(letters[0].error().contains("evt-1"), "{}", letters[0].error());
    assert_eq!(letters[0].bytes(), r#"{"order":"ord-1","cents":999}"#);
    lives_on(&memory, &bus, &calls).await;
    assert_conserved(&bus, 4);
}

#[tokio::test]
async fn row_61_the_same_holds_for_values_that_were_never_encoded() {
    let bus = Bus::builder(SERVICE).build().await.unwrap();
    let calls = counting(&bus);
    let other = Order { cents: 999, ..order(1) };
    for event in [order(1), order(1), other] {
        bus.emit(event).id("mine").await.unwrap();
        settled(&bus).await;
    }
    assert_eq!((calls.count(), stats(&bus).duplicates, stats(&bus).dead_lettered), (1, 1, 1));
    assert_eq!(dead(&bus).await[0].reason(), "id_collision");
    assert_conserved(&bus, 3);
}

#[derive(Debug)]
struct Traced {
    trace: Option<tidings::transport::TraceContext>,
    correlation: EventId,
}

async fn traced(fields: Headers, headers: &[(&'static str, String)]) -> Traced {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send).on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
        let correlation = order.correlation_id().clone();
        send.send(Traced { trace: order.trace(), correlation }).await.unwrap();
    });
    let mut message = raw(fields, BODY);
    for (name, value) in headers {
        message.headers.push(*name, value.clone());
    }
    put(&memory, message).await;
    let traced = within(seen.recv()).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 1);
    traced
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn row_64_a_malformed_traceparent_is_ignored() {
    let id = "0190a5b2-0000-7000-8000-000000000001";
    for parent in ["", "00", "zz-zz", "00-0-0-0", &"0".repeat(10_000), "\u{202e}"] {
        let mut fields = fields_with("traceparent", parent.to_owned());
        fields.set("id", id);
        fields.remove("correlationid");
        let traced = traced(fields, &[]).await;
        let trace = traced.trace.expect("a new trace, derived from the id");
        assert_ne!(trace.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(traced.correlation.to_string(), id);
    }
    let traced = traced(fields_with("traceparent", &b"\xff\xff"[..]), &[]).await;
    assert_eq!(traced.trace, None, "nothing to derive one from");
}

#[tokio::test]
async fn row_64_a_huge_tracestate_is_dropped_and_the_trace_kept() {
    let mut fields = fields_with("traceparent", PARENT);
    fields.set("tracestate", "a=b,".repeat(2_000));
    let baggage = ("baggage", "k=v,".repeat(2_000));
    let trace = traced(fields, &[baggage]).await.trace.unwrap();
    assert_eq!((trace.traceparent().as_str(), trace.tracestate()), (PARENT, None));
}

#[tokio::test]
async fn row_65_times_far_away_are_read_or_dead_lettered() {
    for time in ["1970-01-01T00:00:00Z", "-000001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        let (memory, bus) = shop().await;
        let calls = counting(&bus);
        put(&memory, raw(fields_with("time", time), BODY)).await;
        settled(&bus).await;
        assert_eq!(calls.count(), 1, "{time}");
        assert_conserved(&bus, 1);
    }
    for time in ["10000-01-01T00:00:00Z", "0", "-1", "", "tomorrow", "+999999999-01-01T00:00:00Z"] {
        let letter = refused(raw(fields_with("time", time), BODY), "malformed_envelope").await;
        assert!(letter.error().contains(&format!("{time:?}")), "{}", letter.error());
        assert_eq!(letter.fields().get_str("time"), Some(time));
    }
}

/// Counters in headers are a claim, not a count: only the transport counts deliveries.
#[tokio::test(start_paused = true)]
async fn row_66_forged_counters_in_headers_change_nothing() {
    for forged in ["0", "-5", "4294967295", "18446744073709551616", "many"] {
        let (memory, bus) = shop().await;
        let (send, mut seen) = mpsc::channel(8);
        bus.with(send).on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            send.send(order.attempt()).await.unwrap();
            Err::<(), _>("declined")
        });
        let mut message = raw(fields(), BODY);
        for name in ["tidings-attempts", "tidings-redrives", "tidings-reason", "x-delivery-count"] {
            message.headers.push(name, forged);
        }
        put(&memory, message).await;
        settled(&bus).await;
        for attempt in 1..=3 {
            assert_eq!(seen.try_recv().unwrap(), attempt, "{forged}");
        }
        assert!(seen.try_recv().is_err(), "three attempts, no more");
        let letters = dead(&bus).await;
        assert_eq!((letters[0].attempts(), letters[0].reason()), (3, "exhausted"));
        let named = letters[0].headers().iter().filter(|(name, _)| **name == "tidings-attempts");
        assert_eq!(named.count(), 1, "replaced, not appended");
        assert_conserved(&bus, 1);
    }
}

#[tokio::test]
async fn row_66_a_forged_hop_count_is_clamped() {
    for hops in ["65535", "65536", "99999999999999999999999"] {
        let letter = refused(raw(fields_with("eventhops", hops), BODY), "hop_limit").await;
        assert!(letter.error().contains("65535 handlers in a row"), "{}", letter.error());
    }
    for hops in ["-1", "x", "1.5"] {
        let letter = refused(raw(fields_with("eventhops", hops), BODY), "malformed_envelope").await;
        assert!(letter.error().contains(&format!("{hops:?}")), "{}", letter.error());
    }
}
