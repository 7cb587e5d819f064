use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{
    Carried, EventId, Headers, Inbound, Name, Payload, Position, Timestamp, TransportError, field,
};

use crate::Event;
use crate::bus::BusCore;
use crate::codec::{self, Codec};
use crate::event::{DecodeError, decode};
use crate::pipeline::header;

/// A group's dead letters: see [`Bus::dead_letters`](crate::Bus::dead_letters).
#[derive(Clone)]
pub struct DeadLetters {
    bus: Arc<BusCore>,
    topic: Name,
}

impl DeadLetters {
    pub(crate) fn new(bus: Arc<BusCore>, topic: Name) -> Self {
        Self { bus, topic }
    }

    /// The topic they are in.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// All dead letters, oldest first.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the transport cannot browse, `Missing` where the group keeps none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: reading removes nothing.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, TransportError> {
        let mut browser = self.bus.transport.browse(&self.topic).await?;
        let mut letters = Vec::new();
        while let Some(entry) = browser.next().await? {
            letters.push(self.letter(entry.message));
        }
        Ok(letters)
    }

    fn letter(&self, message: Inbound) -> DeadLetter {
        DeadLetter {
            message,
            codec: Arc::clone(&self.bus.codec),
        }
    }

    /// As [`list`](Self::list), and removes them.
    #[cfg(feature = "testing")]
    pub(crate) async fn take(&self) -> Result<Vec<DeadLetter>, TransportError> {
        let mut browser = self.bus.transport.browse(&self.topic).await?;
        let mut letters = Vec::new();
        while let Some(entry) = browser.next().await? {
            browser.remove(&entry).await?;
            letters.push(self.letter(entry.message));
        }
        Ok(letters)
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// An event that a group could not handle, with its original bytes and headers and the cause.
#[derive(Clone)]
pub struct DeadLetter {
    message: Inbound,
    codec: Arc<dyn Codec>,
}

impl DeadLetter {
    /// A stable word for why: `exhausted`, `permanent`, `not_json`, `future_version`, …
    #[must_use]
    pub fn reason(&self) -> &str {
        self.text(header::REASON)
    }

    /// The error and its sources, at most 1 KiB, escaped and redacted.
    #[must_use]
    pub fn error(&self) -> &str {
        self.text(header::ERROR)
    }

    /// The handler that failed; empty where none was reached.
    #[must_use]
    pub fn handler(&self) -> &str {
        self.text(header::HANDLER)
    }

    /// The group, by its name on the wire.
    #[must_use]
    pub fn group(&self) -> &str {
        self.text(header::GROUP)
    }

    /// How many attempts were made.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.text(header::ATTEMPTS).parse().unwrap_or(0)
    }

    /// When it failed first.
    #[must_use]
    pub fn first_failure(&self) -> Option<Timestamp> {
        self.text(header::FIRST_FAILURE).parse().ok()
    }

    /// When it failed last.
    #[must_use]
    pub fn last_failure(&self) -> Option<Timestamp> {
        self.text(header::LAST_FAILURE).parse().ok()
    }

    /// The topic it was published to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.text(header::TOPIC)
    }

    /// Where it was in that topic, on a transport that has positions.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        Some(Position {
            partition: self.text(header::PARTITION).parse().ok()?,
            offset: self.text(header::OFFSET).parse().ok()?,
        })
    }

    /// The key it was published with.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        self.message.headers.get(header::KEY)
    }

    /// The event's id, as it came.
    #[must_use]
    pub fn id(&self) -> Option<EventId> {
        match &self.message.envelope {
            Carried::Local(envelope) => Some(envelope.id.clone()),
            Carried::Raw(fields) => fields.get_str(field::ID).map(EventId::from),
        }
    }

    /// The event's declared name, as it came.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.message.envelope {
            Carried::Local(envelope) => Some(&envelope.name),
            Carried::Raw(fields) => fields.get_str(field::TYPE),
        }
    }

    /// What of the event is not here, because it is more than the transport may be given: then
    /// [`topic`](Self::topic) and [`position`](Self::position) tell where it is. A foreign producer's
    /// limits can be higher than ours.
    #[must_use]
    pub fn left_out(&self) -> Option<&str> {
        self.message.headers.get_str(header::LEFT_OUT)
    }

    /// The original body, byte for byte. Empty for a value of this process that has no encoding, and
    /// where it was [`left_out`](Self::left_out).
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match &self.message.payload {
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Local(_) | Payload::Tombstone => Bytes::new(),
        }
    }

    /// The event, decoded and upcast as it would be for a handler.
    ///
    /// # Errors
    ///
    /// When it cannot be: for a letter that was never decoded, the same error that brought it here.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        let id = || EventId::from("");
        let (envelope, data) = codec::open(&*self.codec, &self.fields(), &self.bytes(), &id)?;
        decode(
            envelope.map_or(E::VERSION, |envelope| envelope.version),
            &data,
        )
    }

    /// The original envelope as raw fields, malformed values included.
    #[must_use]
    pub fn fields(&self) -> Headers {
        self.message.envelope.to_fields()
    }

    /// The original headers, and under the prefix `tidings-` those that the other methods read.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.message.headers
    }

    fn text(&self, name: &str) -> &str {
        self.message.headers.get_str(name).unwrap_or("")
    }
}

/// Everything but the payload, which stays out of logs.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("reason", &self.reason())
            .field("error", &self.error())
            .field("handler", &self.handler())
            .field("group", &self.group())
            .field("attempts", &self.attempts())
            .finish_non_exhaustive()
    }
}
