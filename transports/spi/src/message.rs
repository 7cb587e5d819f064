use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::{Carried, EncodeError, Headers, Name, Payload, Position, PublishError};

/// A message on its way to a topic.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes.
    pub topic: Name,
    /// What it is ordered by. `None` promises no order; an empty key is a key.
    pub key: Option<Bytes>,
    /// The envelope.
    pub envelope: Carried,
    /// The user's headers and, under the reserved prefix `tidings-`, the bus's own.
    pub headers: Headers,
    /// The data.
    pub payload: Payload,
    /// Delivered no earlier than this after the publish.
    pub delay: Option<Duration>,
}

/// A message in the form that goes over a wire.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Where it goes.
    pub topic: Name,
    /// What it is ordered by.
    pub key: Option<Bytes>,
    /// Raw envelope fields, to be written under the transport's prefix.
    pub fields: Headers,
    /// All other headers.
    pub headers: Headers,
    /// The body; `None` is a tombstone.
    pub body: Option<Bytes>,
    /// Delivered no earlier than this after the publish.
    pub delay: Option<Duration>,
}

impl Message {
    /// Encodes what is still a local value.
    ///
    /// # Errors
    ///
    /// The encoder's error; nothing has been sent (P6).
    pub fn into_wire(self) -> Result<Wire, EncodeError> {
        let (fields, body) = match (&self.payload, &self.envelope) {
            (Payload::Local(local), Carried::Local(envelope)) => {
                let encoded = local.encoder.encode(&*local.value, envelope)?;
                (encoded.fields, Some(encoded.body))
            }
            (Payload::Local(_), Carried::Raw(_)) => {
                return Err(EncodeError::new("a local value needs a typed envelope"));
            }
            (Payload::Bytes(body), envelope) => (envelope.to_fields(), Some(body.clone())),
            (Payload::Tombstone, envelope) => (envelope.to_fields(), None),
        };
        Ok(Wire {
            topic: self.topic,
            key: self.key,
            fields,
            headers: self.headers,
            body,
            delay: self.delay,
        })
    }
}

/// Who publishes: the group whose handler is running, if any.
///
/// A memory transport lets a group overrun its own full queue by a bounded spill, because waiting
/// there would be waiting for oneself.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The emitting group's wire name.
    pub group: Option<Name>,
}

/// What a successful publish achieved (P2).
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// In memory, the groups that hold the event now; `None` where the transport cannot know.
    pub groups: Option<Arc<[Name]>>,
    /// Where the broker put it.
    pub position: Option<Position>,
}

/// The answer of [`Transport::try_publish`](crate::Transport::try_publish).
#[derive(Debug)]
pub enum TryPublish {
    /// Published.
    Done(Receipt),
    /// Only waiting would tell; nothing was published and the message is handed back.
    Wait(Message),
    /// Not published, and waiting would not help; the message is handed back.
    Refused(PublishError, Message),
}

/// Whether anybody would get what is published to a topic, cheap enough to ask at each emit.
#[derive(Clone, Debug, Default)]
pub struct Interest(Option<Arc<AtomicUsize>>);

impl Interest {
    /// The transport cannot know: publish.
    #[must_use]
    pub fn unknown() -> Self {
        Self(None)
    }

    /// The number of groups attached now, kept up to date by the transport.
    #[must_use]
    pub fn counted(groups: Arc<AtomicUsize>) -> Self {
        Self(Some(groups))
    }

    /// Whether it is certain that no group would get it.
    #[must_use]
    #[inline]
    pub fn is_none(&self) -> bool {
        match &self.0 {
            Some(groups) => groups.load(Ordering::Acquire) == 0,
            None => false,
        }
    }
}
