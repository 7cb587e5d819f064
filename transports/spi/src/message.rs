use std::{any::Any, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{Carried, EncodeError, Envelope, Headers, Name, Position, PublishError};

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
    /// # Errors
    /// The encoder's error; nothing has been sent (P6).
    pub fn into_wire(self) -> Result<Wire, EncodeError> {
        let (fields, body) = match (self.payload, &self.envelope) {
            (Payload::Local(local), Carried::Local(envelope)) => {
                let encoded = local.encoder.encode(&*local.value, envelope)?;
                (encoded.fields, Some(encoded.body))
            }
            (Payload::Local(_), Carried::Raw(_)) => {
                return Err(EncodeError::new("a local value needs a typed envelope"));
            }
            (Payload::Bytes(body), envelope) => (envelope.to_fields(), Some(body)),
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

/// The data of a message: encoded, or still the program's own value.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Encoded data.
    Bytes(Bytes),
    /// The value itself with the means to encode it: a memory transport moves it, a broker asks
    /// for bytes through [`Message::into_wire`](crate::Message::into_wire).
    Local(Local),
    /// No data at all: a tombstone, which on a compacted topic removes what its key names.
    Tombstone,
}

/// A value of this process and its encoder.
#[derive(Clone, Debug)]
pub struct Local {
    /// The event.
    pub value: Arc<dyn Any + Send + Sync>,
    /// Turns it into bytes.
    pub encoder: Encoder,
}

/// An [`Encode`], cheap to clone: one that is a constant of the program costs no reference count,
/// which all publishers of a type would share.
#[derive(Clone)]
pub struct Encoder(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static dyn Encode),
    // One word, as in `Name`.
    Shared(Arc<Box<dyn Encode>>),
}

impl Encoder {
    /// A constant of the program.
    pub const fn from_static(encode: &'static dyn Encode) -> Self {
        Self(Repr::Static(encode))
    }

    /// One that was made at run time.
    pub fn new(encode: impl Encode) -> Self {
        Self(Repr::Shared(Arc::new(Box::new(encode))))
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl std::ops::Deref for Encoder {
    type Target = dyn Encode;

    fn deref(&self) -> &dyn Encode {
        match &self.0 {
            Repr::Static(encode) => *encode,
            Repr::Shared(encode) => &***encode,
        }
    }
}

/// Turns a local value into what goes over the wire.
pub trait Encode: Send + Sync + 'static {
    /// Encodes the value with its envelope.
    /// # Contract
    /// Pure: the same value and envelope give the same bytes. Never panics: a panic of the user's
    /// serialiser is an [`EncodeError`].
    /// # Errors
    /// The value has no encoding.
    fn encode(
        &self,
        value: &(dyn Any + Send + Sync),
        envelope: &Envelope,
    ) -> Result<Encoded, EncodeError>;
}

/// An encoded event.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The raw envelope fields that travel beside the body, without a transport's prefix: all of
    /// them in binary mode, only the content type where the body holds the envelope.
    pub fields: Headers,
    /// The body.
    pub body: Bytes,
}

/// Who publishes. A memory transport lets a group overrun its own full queue by a bounded spill,
/// because waiting there would be waiting for oneself.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The wire name of the group whose handler is running, if any.
    pub group: Option<Name>,
}

/// What a successful publish achieved (P2).
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// The groups that hold the event now.
    pub groups: Groups,
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

/// The groups that got a message.
#[derive(Clone, Debug, Default)]
pub enum Groups {
    /// The transport cannot know, as no broker can.
    #[default]
    Unknown,
    /// One, as is usual: its name is cheaper to hand on than a list.
    One(Name),
    /// Any number.
    Several(Arc<[Name]>),
}

impl Groups {
    /// Their names, where they are known.
    pub fn names(&self) -> Option<&[Name]> {
        match self {
            Self::Unknown => None,
            Self::One(name) => Some(std::slice::from_ref(name)),
            Self::Several(names) => Some(names),
        }
    }
}

/// Of known names.
impl FromIterator<Name> for Groups {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let names: Arc<[Name]> = names.into_iter().collect();
        match &*names {
            [name] => Self::One(name.clone()),
            _ => Self::Several(names),
        }
    }
}
