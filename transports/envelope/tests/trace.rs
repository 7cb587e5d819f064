//! Trace contexts, as the W3C has them.

use proptest::prelude::*;
use tidings_envelope::TraceContext;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn malformed_contexts_are_refused() {
    assert!(TraceContext::parse(GOOD, None).is_some());
    for bad in [
        "",
        "00",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
    ] {
        assert!(TraceContext::parse(bad, None).is_none(), "{bad}");
    }
    let newer = format!("01{}-extra", &GOOD[2..]);
    assert!(TraceContext::parse(&newer, None).is_some());
}

#[test]
fn a_huge_tracestate_is_dropped_and_the_trace_kept() {
    let huge = "a=b,".repeat(1_000);
    let trace = TraceContext::parse(GOOD, Some(&huge)).expect("well formed");
    assert_eq!(trace.tracestate(), None);
    let child = TraceContext::parse(GOOD, Some("v=1"))
        .expect("well formed")
        .child();
    assert_eq!(child.trace_id(), trace.trace_id());
    assert_ne!(child.span_id(), trace.span_id());
    assert_eq!(child.tracestate(), Some("v=1"));
}

#[test]
fn ids_of_zero_are_no_trace() {
    assert!(TraceContext::new(0, 1, 0).is_none() && TraceContext::new(1, 0, 0).is_none());
    let trace = TraceContext::random();
    assert!(trace.trace_id() != 0 && trace.span_id() != 0);
}

proptest! {
    #[test]
    fn every_context_comes_back(id in 1..=u128::MAX, span in 1..=u64::MAX, flags in any::<u8>()) {
        let trace = TraceContext::new(id, span, flags).expect("not zero");
        let text = trace.traceparent();
        prop_assert_eq!(format!("{trace:?}"), &text[..]);
        prop_assert_eq!(TraceContext::parse(&text, None), Some(trace));
    }
}
