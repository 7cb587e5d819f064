use std::fmt;
use std::sync::Arc;

/// A W3C trace context: who caused this, for tracing systems.
///
/// Source: <https://www.w3.org/TR/trace-context/>, version 00. A malformed `traceparent` is
/// ignored and a new trace begins; a `tracestate` is forwarded untouched up to 512 characters and
/// dropped beyond, as the specification allows.
///
/// ```
/// use tidings_transport::TraceContext;
///
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(parent, None).unwrap();
/// assert_eq!(trace.traceparent(), parent);
/// assert!(TraceContext::parse("00-zz-00-01", None).is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

const MAX_STATE: usize = 512;

impl TraceContext {
    /// A context from its parts; `None` when an id is zero, which the specification forbids.
    #[must_use]
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
            state: None,
        })
    }

    /// A new trace with random ids.
    #[must_use]
    pub fn random() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            flags: 0,
            state: None,
        }
    }

    /// Reads a `traceparent` and its `tracestate`; `None` when the first is malformed.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let version = hex(bytes.get(..2)?)?;
        let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        let length_fits = match version {
            0 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        if !dashes || !length_fits {
            return None;
        }
        let flags = u8::try_from(hex(&bytes[53..55])?).ok()?;
        let mut trace = Self::new(
            hex(&bytes[3..35])?,
            u64::try_from(hex(&bytes[36..52])?).ok()?,
            flags,
        )?;
        trace.state = tracestate
            .filter(|state| !state.is_empty() && state.len() <= MAX_STATE)
            .map(Arc::from);
        Some(trace)
    }

    /// The same trace, in a new span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: fastrand::u64(1..),
            ..self.clone()
        }
    }

    /// The id shared by everything in this trace.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span that made this context.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The `traceparent` text, 55 characters.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The `tracestate` text, untouched.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

/// Lower-case hexadecimal only, as the specification demands.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_contexts_are_refused() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(TraceContext::parse(good, None).is_some());
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::parse(bad, None).is_none(), "{bad}");
        }
        let newer = format!("01{}-extra", &good[2..]);
        assert!(TraceContext::parse(&newer, None).is_some());
    }

    #[test]
    fn a_huge_tracestate_is_dropped_and_the_trace_kept() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let huge = "a=b,".repeat(1_000);
        let trace = TraceContext::parse(parent, Some(&huge)).expect("well formed");
        assert_eq!(trace.tracestate(), None);
        let child = TraceContext::parse(parent, Some("v=1")).expect("well formed").child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child.span_id(), trace.span_id());
        assert_eq!(child.tracestate(), Some("v=1"));
    }
}
