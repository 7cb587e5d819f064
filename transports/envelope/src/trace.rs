use std::{fmt, num::NonZeroU64, sync::Arc};

/// A W3C trace context: who caused this, for tracing systems.
///
/// Source: <https://www.w3.org/TR/trace-context/>, version 00. A malformed `traceparent` is ignored
/// and a new trace begins; a `tracestate` is forwarded untouched up to 512 characters and dropped
/// beyond, as the specification allows.
///
/// ```
/// use tidings_envelope::TraceContext;
///
/// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(parent, None).unwrap();
/// assert_eq!(trace.traceparent(), parent);
/// assert!(TraceContext::parse("00-zz-00-01", None).is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    // Two words: the alignment of an `u128` would make everything that holds a context, which is
    // every event, larger and slower to move.
    trace_id: [u64; 2],
    span_id: NonZeroU64,
    flags: u8,
    state: Option<Arc<str>>,
}

const MAX_STATE: usize = 512;

impl TraceContext {
    /// A context from its parts; `None` when an id is zero, which the specification forbids.
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        let span_id = NonZeroU64::new(span_id).filter(|_| trace_id != 0)?;
        Some(Self {
            trace_id: [(trace_id >> 64) as u64, trace_id as u64],
            span_id,
            flags,
            state: None,
        })
    }

    /// A new trace with random ids.
    pub fn random() -> Self {
        Self {
            trace_id: [fastrand::u64(1..), fastrand::u64(..)],
            span_id: random_span(),
            flags: 0,
            state: None,
        }
    }

    /// The same trace, in a new span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: random_span(),
            ..self.clone()
        }
    }

    /// Reads a `traceparent` and its `tracestate`; `None` when the first is malformed.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        Self::read(traceparent.as_bytes(), tracestate)
    }

    pub(crate) fn read(parent: &[u8], tracestate: Option<&str>) -> Option<Self> {
        let (parent, rest) = parent.split_at_checked(55)?;
        let [version] = hex(parent, |_| 0)?;
        // Later versions may say more, after another hyphen.
        let ends = rest.is_empty() || (version > 0 && rest[0] == b'-');
        let hyphens = [2, 35, 52].map(|at| parent[at]) == *b"---";
        let trace_id = u128::from_be_bytes(hex(parent, |byte| 3 + 2 * byte)?);
        let span_id = u64::from_be_bytes(hex(parent, |byte| 36 + 2 * byte)?);
        let [flags] = hex(parent, |_| 53)?;
        let mut trace = Self::new(trace_id, span_id, flags)?;
        let carried = |state: &&str| !state.is_empty() && state.len() <= MAX_STATE;
        trace.state = tracestate.filter(carried).map(Arc::from);
        (ends && hyphens && version != 0xff).then_some(trace)
    }

    /// The id shared by everything in this trace.
    pub fn trace_id(&self) -> u128 {
        let [high, low] = self.trace_id;
        u128::from(high) << 64 | u128::from(low)
    }

    /// The id of the span that made this context.
    pub fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// The `traceparent` text, 55 characters.
    pub fn traceparent(&self) -> String {
        self.with_parent(str::to_owned)
    }

    /// Runs `f` on the `traceparent` text without allocating.
    pub(crate) fn with_parent<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut put = |at: usize, bytes: &[u8]| {
            for (pair, byte) in text[at..].chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 0xf)];
            }
        };
        put(3, &self.trace_id().to_be_bytes());
        put(36, &self.span_id().to_be_bytes());
        put(53, &[self.flags]);
        // Digits and hyphens only.
        f(str::from_utf8(&text).unwrap_or_default())
    }

    /// The `tracestate` text, untouched.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

fn random_span() -> NonZeroU64 {
    NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN)
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_parent(|parent| f.write_str(parent))
    }
}

/// Reads bytes of two hexadecimal digits each, byte `i` at `at(i)`; `text` must be long enough.
/// Lower case only, as both a `traceparent` and a UUID's canonical text have it.
#[inline]
pub(crate) fn hex<const N: usize>(text: &[u8], at: impl Fn(usize) -> usize) -> Option<[u8; N]> {
    let mut seen = 0;
    let bytes = std::array::from_fn(|byte| {
        let (high, low) = (text[at(byte)], text[at(byte) + 1]);
        let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
        // No branch per digit: whatever is none leaves a high bit, which is looked at once.
        seen |= high | low;
        high << 4 | low & 0xf
    });
    (seen < 16).then_some(bytes)
}

/// The value of each hexadecimal digit, 255 for every other character.
const DIGITS: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    table
};
