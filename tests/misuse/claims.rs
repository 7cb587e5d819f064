//! Rows 64 to 66: traces, times and counters that a stranger claims.

use tidings::Delivery;
use tidings::transport::{EventId, Headers};
use tokio::sync::mpsc;

use crate::kit::{
    Order, assert_conserved, counting, dead, fields, fields_with, put, raw, refused, settled, shop,
    within,
};

const BODY: &str = r#"{"order":"ord-1","cents":100}"#;

#[derive(Debug)]
struct Traced {
    trace: Option<tidings::transport::TraceContext>,
    correlation: EventId,
}

async fn traced(fields: Headers, headers: &[(&'static str, String)]) -> Traced {
    let (memory, bus) = shop().await;
    let (send, mut seen) = mpsc::channel(8);
    bus.with(send)
        .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
            let correlation = order.correlation_id().clone();
            send.send(Traced {
                trace: order.trace(),
                correlation,
            })
            .await
            .unwrap();
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
    for parent in [
        "",
        "00",
        "zz-zz",
        "00-0-0-0",
        &"0".repeat(10_000),
        "\u{202e}",
    ] {
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
    assert_eq!(
        (trace.traceparent().as_str(), trace.tracestate()),
        (PARENT, None)
    );
}

#[tokio::test]
async fn row_65_times_far_away_are_read_or_dead_lettered() {
    for time in [
        "1970-01-01T00:00:00Z",
        "-000001-01-01T00:00:00Z",
        "9999-12-30T00:00:00Z",
    ] {
        let (memory, bus) = shop().await;
        let calls = counting(&bus);
        put(&memory, raw(fields_with("time", time), BODY)).await;
        settled(&bus).await;
        assert_eq!(calls.count(), 1, "{time}");
        assert_conserved(&bus, 1);
    }
    for time in [
        "10000-01-01T00:00:00Z",
        "0",
        "-1",
        "",
        "tomorrow",
        "+999999999-01-01T00:00:00Z",
    ] {
        let letter = refused(raw(fields_with("time", time), BODY), "malformed_envelope").await;
        assert!(
            letter.error().contains(&format!("{time:?}")),
            "{}",
            letter.error()
        );
        assert_eq!(letter.fields().get_str("time"), Some(time));
    }
}

/// Counters in headers are a claim, not a count: only the transport counts deliveries.
#[tokio::test(start_paused = true)]
async fn row_66_forged_counters_in_headers_change_nothing() {
    for forged in ["0", "-5", "4294967295", "18446744073709551616", "many"] {
        let (memory, bus) = shop().await;
        let (send, mut seen) = mpsc::channel(8);
        bus.with(send)
            .on(async |send: mpsc::Sender<_>, order: Delivery<Order>| {
                send.send(order.attempt()).await.unwrap();
                Err::<(), _>("declined")
            });
        let mut message = raw(fields(), BODY);
        for name in [
            "tidings-attempts",
            "tidings-redrives",
            "tidings-reason",
            "x-delivery-count",
        ] {
            message.headers.push(name, forged);
        }
        put(&memory, message).await;
        settled(&bus).await;
        for attempt in 1..=3 {
            assert_eq!(seen.try_recv().unwrap(), attempt, "{forged}");
        }
        assert!(seen.try_recv().is_err(), "three attempts, no more");
        let letters = dead(&bus).await;
        assert_eq!(
            (letters[0].attempts(), letters[0].reason()),
            (3, "exhausted")
        );
        let named = letters[0]
            .headers()
            .iter()
            .filter(|(name, _)| **name == "tidings-attempts");
        assert_eq!(named.count(), 1, "replaced, not appended");
        assert_conserved(&bus, 1);
    }
}

#[tokio::test]
async fn row_66_a_forged_hop_count_is_clamped() {
    for hops in ["65535", "65536", "99999999999999999999999"] {
        let letter = refused(raw(fields_with("eventhops", hops), BODY), "hop_limit").await;
        assert!(
            letter.error().contains("65535 handlers in a row"),
            "{}",
            letter.error()
        );
    }
    for hops in ["-1", "x", "1.5"] {
        let letter = refused(
            raw(fields_with("eventhops", hops), BODY),
            "malformed_envelope",
        )
        .await;
        assert!(
            letter.error().contains(&format!("{hops:?}")),
            "{}",
            letter.error()
        );
    }
}
