use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{
    Carried, EventId, Headers, Inbound, Message, Name, Origin, Payload, Position, Timestamp,
    TransportError, field,
};

use super::job::Delivered;
use super::trace;
use super::{Verdict, stable_hash};
use crate::Event;
use crate::bus::{BusCore, GroupCore};
use crate::codec::{self, Codec};
use crate::event::{DecodeError, decode};
use crate::handler::HandlerInfo;
use crate::text::safe;

/// Why an event was dead-lettered; its text is the header `tidings-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It could not be decoded; the word says how (`not_json`, `future_version`, `upcast`, …).
    Decode(&'static str),
    /// Its handler failed for good; the word says how (`exhausted`, `permanent`, …).
    Handler(&'static str),
    /// Its id was seen before with another payload (contract X6).
    IdCollision,
    /// Too many handlers in a row led to it.
    HopLimit,
}

impl Reason {
    /// A stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode(word) | Self::Handler(word) => word,
            Self::IdCollision => "id_collision",
            Self::HopLimit => "hop_limit",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why, with what is known about the failure. The error text is already fit to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) error: String,
    pub(crate) attempts: u32,
    pub(crate) first_failure: Option<Timestamp>,
}

impl Cause {
    pub(crate) fn new(reason: Reason, error: String, attempts: u32) -> Self {
        Self {
            reason,
            error,
            attempts,
            first_failure: None,
        }
    }
}

/// The headers of a dead letter, under the reserved prefix. Replaced on each hop, never appended.
mod header {
    pub(super) const REASON: &str = "tidings-reason";
    pub(super) const ERROR: &str = "tidings-error";
    pub(super) const HANDLER: &str = "tidings-handler";
    pub(super) const GROUP: &str = "tidings-group";
    pub(super) const ATTEMPTS: &str = "tidings-attempts";
    pub(super) const FIRST_FAILURE: &str = "tidings-first-failure";
    pub(super) const LAST_FAILURE: &str = "tidings-last-failure";
    pub(super) const TOPIC: &str = "tidings-topic";
    pub(super) const KEY: &str = "tidings-key";
    pub(super) const PARTITION: &str = "tidings-partition";
    pub(super) const OFFSET: &str = "tidings-offset";
}

/// Longest key or id, in bytes, that a dead letter keeps beside its error (R5); twice what an emit
/// may have as its key.
const MAX_KEPT: usize = 2_048;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Writes a dead letter and says so; the only place that does (contract R4, R5).
///
/// While the write fails the delivery stays unsettled and its lane waits; an alert is logged at
/// every try.
pub(crate) async fn letter(
    group: &GroupCore,
    handler: Option<&HandlerInfo>,
    delivered: Delivered<'_>,
    cause: Cause,
) -> Verdict {
    trace::dead_letter(group, handler, delivered, &cause);
    let Some(topic) = &group.dead_letters else {
        // The group keeps none, by name: the log line above is all that is left.
        return Verdict::DeadLettered;
    };
    let message = compose(group, handler, delivered, &cause, topic.clone());
    let mut pause = FIRST_PAUSE;
    loop {
        let published = group
            .bus
            .transport
            .publish(message.clone(), Origin::default())
            .await;
        let error = match published {
            Ok(_) => return Verdict::DeadLettered,
            Err(error) => error,
        };
        trace::dead_letter_failed(group, delivered, topic, &error);
        let revoked = delivered.revoked();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = group.draining.cancelled() => return Verdict::HandedBack,
            () = revoked.cancelled() => return Verdict::HandedBack,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn compose(
    group: &GroupCore,
    handler: Option<&HandlerInfo>,
    delivered: Delivered<'_>,
    cause: &Cause,
    topic: Name,
) -> Message {
    let inbound = delivered.message();
    let handler_name = handler.map_or(Name::from_static(""), |handler| handler.name.clone());
    let id = delivered.envelope_id();
    // What it is kept under must fit a key; only an id of somebody else can be longer.
    let id = if id.len() > MAX_KEPT {
        format!("{:016x}", stable_hash(id.as_bytes()))
    } else {
        id
    };
    let key = format!("{id}|{handler_name}");
    let now = group.bus.clock.now();
    let mut headers = inbound.headers.clone();
    let mut set = |name: &'static str, value: String| {
        headers.set(Name::from_static(name), Bytes::from(value));
    };
    set(header::REASON, cause.reason.to_string());
    let lost_key = inbound
        .key
        .as_ref()
        .filter(|key| key.len() > MAX_KEPT)
        .map(|key| {
            format!(
                "(its key of {} bytes is over the {MAX_KEPT} that are kept) ",
                key.len()
            )
        });
    set(
        header::ERROR,
        safe(&format!(
            "{}{}",
            lost_key.as_deref().unwrap_or(""),
            cause.error
        )),
    );
    set(header::HANDLER, handler_name.to_string());
    set(header::GROUP, group.name.to_string());
    set(header::ATTEMPTS, cause.attempts.to_string());
    set(
        header::FIRST_FAILURE,
        cause.first_failure.unwrap_or(now).to_string(),
    );
    set(header::LAST_FAILURE, now.to_string());
    set(header::TOPIC, inbound.topic.to_string());
    if let Some(position) = inbound.origination.position {
        set(header::PARTITION, position.partition.to_string());
        set(header::OFFSET, position.offset.to_string());
    }
    if let Some(key) = &inbound.key
        && lost_key.is_none()
    {
        headers.set(Name::from_static(header::KEY), key.clone());
    }
    let mut message = Message {
        topic,
        key: Some(Bytes::from(key)),
        envelope: inbound.envelope.clone(),
        headers,
        payload: inbound.payload.clone(),
        delay: None,
    };
    // A value without encoding stays a value: in memory nothing is lost by it.
    if let Payload::Local(local) = &message.payload
        && let Carried::Local(envelope) = &message.envelope
        && let Ok(encoded) = local.encoder.encode(&*local.value, envelope)
        // Nor is one lost that is larger as bytes than the transport takes.
        && encoded.body.len() <= group.bus.capabilities.max_size
    {
        message.payload = Payload::Bytes(encoded.body);
        if encoded.fields.get(field::TYPE).is_none() {
            // The body holds the envelope.
            message.envelope = Carried::Raw(encoded.fields);
        }
    }
    message
}

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

    /// The original body, byte for byte. Empty for a value of this process that has no encoding.
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
