use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tidings_transport::{Batch, Carried, Envelope, Inbound, Payload, Received, Settle, field};
use tokio_util::sync::CancellationToken;

use super::retry::Aside;
use crate::codec::{self, Codec};
use crate::event::DecodeError;

/// A delivery whose envelope has been read.
///
/// It goes through many hands, and a message is some 200 bytes: so it stays in one place, which is
/// used again for another delivery.
pub(crate) struct Intake(Box<Place>);

/// A place for one delivery; in an [`Intake`] it is never empty.
#[derive(Default)]
struct Place {
    received: Option<Received>,
    /// What was read from raw fields; `None` where the envelope never left this process.
    parsed: Option<Box<Parsed>>,
    /// What it was before it was put aside for a retry, and what is known of that.
    aside: Option<Box<(Inbound, Aside)>>,
}

/// An empty place, to be used again.
#[derive(Default)]
pub(crate) struct Spare(Box<Place>);

pub(crate) struct Parsed {
    pub(crate) envelope: Envelope,
    pub(crate) data: Bytes,
}

impl Intake {
    /// Puts a delivery into an empty place.
    pub(crate) fn take(mut spare: Spare, received: Received) -> Self {
        spare.0.received = Some(received);
        Self(spare.0)
    }

    /// The envelope and data that were read from it.
    pub(crate) fn read(&mut self, parsed: Parsed) {
        self.0.parsed = Some(Box::new(parsed));
    }

    /// It comes back from where it was put aside, and is again what it was.
    pub(crate) fn comes_back(&mut self, message: Inbound, aside: Aside) {
        self.0.aside = Some(Box::new((message, aside)));
    }

    /// Whether its envelope is still to be read.
    pub(crate) fn is_unread(&self) -> bool {
        self.0.parsed.is_none() && self.message().envelope.local().is_none()
    }

    #[inline]
    #[allow(
        clippy::expect_used,
        reason = "only what takes the intake by value empties its place"
    )]
    pub(crate) fn delivered(&self) -> Delivered<'_> {
        let received = self.0.received.as_ref();
        let received = received.expect("an intake holds a delivery");
        let aside = self.0.aside.as_deref();
        Delivered {
            message: aside.map_or(received, |(message, _)| message),
            settle: received.settle(),
            parsed: self.0.parsed.as_deref(),
            aside: aside.map(|(_, aside)| aside),
        }
    }

    pub(crate) fn message(&self) -> &Inbound {
        self.delivered().message()
    }

    /// The bytes it keeps alive, as far as they can be known.
    pub(crate) fn size(&self) -> usize {
        let received = self.message();
        let payload = match &received.payload {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Local(_) | Payload::Tombstone => 0,
        };
        let fields = match &received.envelope {
            Carried::Raw(fields) => fields.size(),
            Carried::Local(_) => 0,
        };
        payload + fields + received.headers.size()
    }

    pub(crate) fn ack(mut self) -> Spare {
        if let Some(received) = &mut self.0.received {
            received.ack_in_place();
        }
        *self.0 = Place::default();
        Spare(self.0)
    }

    /// Dropping it does the same.
    pub(crate) fn release(self) {
        drop(self);
    }
}

/// A delivery, wherever it lies: what the stages of the pipeline read.
#[derive(Clone, Copy)]
pub(crate) struct Delivered<'a> {
    message: &'a Inbound,
    settle: &'a dyn Settle,
    parsed: Option<&'a Parsed>,
    aside: Option<&'a Aside>,
}

impl<'a> Delivered<'a> {
    /// One in its batch whose envelope never left this process.
    #[inline(always)]
    pub(crate) fn local(batch: &'a Batch, at: usize) -> Option<Self> {
        let (message, settle) = batch.get(at)?;
        message.envelope.local().is_some().then_some(Self {
            message,
            settle,
            parsed: None,
            aside: None,
        })
    }

    /// One in its batch whose envelope was read.
    pub(crate) fn read(batch: &'a Batch, at: usize, parsed: &'a Parsed) -> Option<Self> {
        let (message, settle) = batch.get(at)?;
        Some(Self {
            message,
            settle,
            parsed: Some(parsed),
            aside: None,
        })
    }

    #[inline]
    pub(crate) fn message(self) -> &'a Inbound {
        self.message
    }

    /// What is known of it if it was put aside for a retry.
    pub(crate) fn aside(self) -> Option<&'a Aside> {
        self.aside
    }

    /// Whether the event never left this process.
    #[inline]
    pub(crate) fn is_local(self) -> bool {
        self.parsed.is_none()
    }

    #[inline]
    #[allow(clippy::expect_used, reason = "intake parses every raw envelope")]
    pub(crate) fn envelope(self) -> &'a Envelope {
        match self.parsed {
            Some(parsed) => &parsed.envelope,
            None => self
                .message()
                .envelope
                .local()
                .expect("a local envelope or a parsed one"),
        }
    }

    /// The id, for lines about a message whose envelope may be unreadable.
    pub(crate) fn envelope_id(self) -> String {
        self.readable(|envelope| envelope.id.to_string(), field::ID)
    }

    /// As [`envelope_id`](Self::envelope_id).
    pub(crate) fn envelope_name(self) -> String {
        self.readable(|envelope| envelope.name.to_string(), field::TYPE)
    }

    /// As [`envelope_id`](Self::envelope_id).
    pub(crate) fn envelope_correlation(self) -> String {
        self.readable(
            |envelope| envelope.correlation().to_string(),
            field::CORRELATION,
        )
    }

    fn readable(self, read: impl FnOnce(&Envelope) -> String, raw: &str) -> String {
        match (self.parsed, &self.message().envelope) {
            (Some(parsed), _) => read(&parsed.envelope),
            (None, Carried::Local(envelope)) => read(envelope),
            (None, Carried::Raw(fields)) => fields.get_str(raw).unwrap_or("").to_owned(),
        }
    }

    /// The encoded data; encodes what is still a local value.
    pub(crate) fn data(self, codec: &dyn Codec) -> Result<Bytes, DecodeError> {
        if let Some(parsed) = self.parsed {
            return Ok(parsed.data.clone());
        }
        match &self.message().payload {
            Payload::Bytes(bytes) => Ok(bytes.clone()),
            Payload::Tombstone => Ok(Bytes::new()),
            Payload::Local(local) => {
                let envelope = self.envelope();
                let encoded = local.encoder.encode(&*local.value, envelope)?;
                // The body may be more than the data: what is written is read the same way.
                let id = || envelope.id.clone();
                codec::open(codec, &encoded.fields, &encoded.body, &id).map(|(_, data)| data)
            }
        }
    }

    pub(crate) fn revoked(self) -> &'a CancellationToken {
        self.settle.revoked()
    }
}

/// One handler's share of a delivery.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every delivery has one handler; boxing it would be an allocation per event"
)]
pub(crate) enum Job {
    /// The delivery has one handler.
    Sole(Intake),
    /// It has several, which run side by side; settled when the last one is final.
    Shared(Arc<Shared>),
}

pub(crate) struct Shared {
    intake: Intake,
    remaining: AtomicUsize,
    handed_back: AtomicBool,
}

impl Job {
    pub(crate) fn shared(intake: Intake, handlers: usize) -> Arc<Shared> {
        Arc::new(Shared {
            intake,
            remaining: AtomicUsize::new(handlers),
            handed_back: AtomicBool::new(false),
        })
    }

    fn intake(&self) -> &Intake {
        match self {
            Self::Sole(intake) => intake,
            Self::Shared(shared) => &shared.intake,
        }
    }

    pub(crate) fn delivered(&self) -> Delivered<'_> {
        self.intake().delivered()
    }

    /// This handler is through; gives back the delivery once all are, with whether one of them
    /// gave up before its final state.
    pub(crate) fn finish(self, handed_back: bool) -> Option<(Intake, bool)> {
        match self {
            Self::Sole(intake) => Some((intake, handed_back)),
            Self::Shared(shared) => {
                if handed_back {
                    shared.handed_back.store(true, Ordering::Relaxed);
                }
                if shared.remaining.fetch_sub(1, Ordering::AcqRel) > 1 {
                    return None;
                }
                let shared = Arc::into_inner(shared)?;
                Some((shared.intake, shared.handed_back.into_inner()))
            }
        }
    }
}

/// A handler's share that is through.
pub(crate) struct Finished {
    pub(crate) job: Job,
    pub(crate) verdict: Verdict,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Handled.
    Completed,
    /// The same event was handled before.
    Duplicate,
    /// Written to the dead letters, or dropped by the group's own choice to keep none.
    DeadLettered,
    /// Safe in `<group>.retry`, from where it comes back.
    PutAside,
    /// The handler was removed before it handled the event.
    Skipped,
    /// Not final: given back to the transport.
    HandedBack,
}
