//! What the rows share: events, a bus on a memory that foreign messages can be put into, counts,
//! and captured logs.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{
    Carried, Envelope, EventId, Headers, Message, Name, Origin, Payload, Transport, field,
};
use tidings::{Bus, BusBuilder, DeadLetter, Event, GroupStats, RetryPolicy};
use tracing_subscriber::fmt::MakeWriter;

pub(crate) const SERVICE: &str = "shop";

/// The event of most rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, key = order)]
pub(crate) struct Order {
    pub(crate) order: String,
    pub(crate) cents: u64,
}

pub(crate) fn order(number: usize) -> Order {
    Order {
        order: format!("ord-{number}"),
        cents: 100,
    }
}

/// A memory, and a bus on it whose group has no patience.
pub(crate) async fn shop() -> (Memory, Bus) {
    shop_with(Memory::new(), |bus| bus).await
}

pub(crate) async fn shop_with(
    memory: Memory,
    set: impl FnOnce(BusBuilder) -> BusBuilder,
) -> (Memory, Bus) {
    let builder = Bus::builder(SERVICE)
        .transport(memory.clone())
        .retry(quick());
    (memory, set(builder).build().await.unwrap())
}

/// Three attempts, hardly any wait.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::exponential()
        .attempts(3)
        .base(Duration::from_millis(1))
}

/// Counts calls.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicU64>);

impl Calls {
    pub(crate) fn one(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Registers a handler of [`Order`] that counts.
pub(crate) fn counting(bus: &Bus) -> Calls {
    let calls = Calls::default();
    bus.with(calls.clone())
        .named("count")
        .on(async |calls: Calls, _order: Order| calls.one());
    calls
}

/// A sound message of [`Order`], as a broker would bring it.
pub(crate) fn message() -> Message {
    raw(
        fields(),
        Bytes::from_static(br#"{"order":"ord-1","cents":100}"#),
    )
}

/// The raw envelope of [`Order`].
pub(crate) fn fields() -> Headers {
    let id = EventId::from("evt-1");
    let source = Name::from_static("elsewhere");
    Envelope::new(id, Name::from_static(Order::NAME), Order::VERSION, source).to_fields()
}

pub(crate) fn fields_with(name: &'static str, value: impl Into<Bytes>) -> Headers {
    let mut fields = fields();
    fields.set(name, value);
    fields
}

pub(crate) fn fields_without(name: &str) -> Headers {
    let mut fields = fields();
    fields.remove(name);
    fields
}

pub(crate) fn raw(fields: Headers, body: impl Into<Bytes>) -> Message {
    Message {
        topic: Name::from_static(Order::NAME),
        key: None,
        envelope: Carried::Raw(fields),
        headers: Headers::new(),
        payload: Payload::Bytes(body.into()),
        delay: None,
    }
}

/// Publishes past the bus, as another program would.
pub(crate) async fn put(memory: &Memory, message: Message) {
    let receipt = memory.publish(message, Origin::default()).await.unwrap();
    assert!(
        !receipt.groups.names().unwrap().is_empty(),
        "somebody must get it"
    );
}

/// Waits until everything is final; a hang is a failure, not a stuck test.
pub(crate) async fn settled(bus: &Bus) {
    within(bus.settled()).await.unwrap();
}

/// A generous limit on what must not hang, on whichever clock the test has.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    let limit = Duration::from_secs(600);
    tokio::time::timeout(limit, future.into_future())
        .await
        .expect("hangs")
}

/// What the bus's own group has done.
pub(crate) fn stats(bus: &Bus) -> GroupStats {
    bus.named("any").stats().expect("the group has a handler")
}

/// contract: D1, for a group with one handler
pub(crate) fn assert_conserved(bus: &Bus, published: u64) {
    let stats = stats(bus);
    let finals = stats.completed + stats.dead_lettered + stats.skipped + stats.duplicates;
    assert_eq!((finals, stats.unsettled), (published, 0), "{stats:?}");
}

pub(crate) async fn dead(bus: &Bus) -> Vec<DeadLetter> {
    bus.dead_letters(SERVICE).list().await.unwrap()
}

/// Puts one message in, expects it dead-lettered for `reason` with its bytes, its handler never
/// called, and the next sound message handled. Gives back the letter.
pub(crate) async fn refused(bad: Message, reason: &str) -> DeadLetter {
    let (memory, bus) = shop().await;
    refused_by(&memory, &bus, bad, reason).await
}

pub(crate) async fn refused_by(
    memory: &Memory,
    bus: &Bus,
    bad: Message,
    reason: &str,
) -> DeadLetter {
    let calls = counting(bus);
    let body = match &bad.payload {
        Payload::Bytes(body) => body.clone(),
        _ => Bytes::new(),
    };
    let fields = bad.envelope.to_fields();
    put(memory, bad).await;
    settled(bus).await;
    let mut letters = dead(bus).await;
    assert_eq!(letters.len(), 1, "{reason}");
    let letter = letters.remove(0);
    assert_eq!(letter.reason(), reason, "{}", letter.error());
    assert_eq!(letter.bytes(), body, "the original bytes");
    assert_eq!(letter.fields(), fields, "the original envelope");
    assert_eq!(letter.group(), SERVICE);
    assert_eq!(calls.count(), 0, "its handler is never called");
    lives_on(memory, bus, &calls).await;
    assert_conserved(bus, 2);
    letter
}

/// A sound message is handled after the bad one, in the same lane.
pub(crate) async fn lives_on(memory: &Memory, bus: &Bus, calls: &Calls) {
    let before = calls.count();
    put(
        memory,
        raw(fields_with(field::ID, "evt-after"), message_body()),
    )
    .await;
    settled(bus).await;
    assert_eq!(calls.count(), before + 1, "the next event is handled");
}

fn message_body() -> Bytes {
    Bytes::from_static(br#"{"order":"ord-1","cents":100}"#)
}

/// What was logged while it lives, on this thread, as a terminal would show it.
pub(crate) struct Logs {
    lines: Lines,
    guard: Option<tracing::subscriber::DefaultGuard>,
}

/// The level that is on for the process goes down only when it is worked out anew; as long as it
/// is up, events go the longer way.
impl Drop for Logs {
    fn drop(&mut self) {
        self.guard = None;
        tracing::callsite::rebuild_interest_cache();
    }
}

/// See [`Logs::lines`].
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Logs {
    pub(crate) fn capture() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(lines.clone())
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::NEW)
            .finish();
        Self {
            lines,
            guard: Some(tracing::subscriber::set_default(subscriber)),
        }
    }

    pub(crate) fn text(&self) -> String {
        self.lines.text()
    }

    /// The same lines, for another thread.
    pub(crate) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// The lines that contain a text.
    pub(crate) fn with(&self, text: &str) -> Vec<String> {
        self.text()
            .lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
