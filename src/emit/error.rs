use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use tidings_transport::{BoxFuture, EventId, Reason};

use super::builder::Options;
use super::context::Current;
use super::receipt::Receipt;

/// An emit that is not Ok: NotPublished or Unknown (contract P1). It hands back the event and its
/// id, so that a retry is the same event: see [`Bus::emit_again`](crate::Bus::emit_again).
pub struct PublishError<E>(Box<Inner<E>>);

struct Inner<E> {
    unknown: bool,
    reason: Reason,
    id: EventId,
    event: Returned<E>,
    chosen: Option<Box<Chosen<E>>>,
}

/// What an emit has beside its event. Most have nothing: then one word says so, and there is nothing
/// to drop.
pub(crate) struct Chosen<E> {
    /// What it chose; a second try does the same.
    pub(crate) options: Options,
    /// What it carries on; as well.
    pub(crate) cause: Option<Current>,
    /// The event, where an earlier emit handed it back shared.
    pub(crate) again: Option<Arc<E>>,
    pub(crate) later: Option<Later<E>>,
}

/// An emit that goes on after its first poll.
pub(crate) enum Later<E> {
    /// Never locked: it makes the whole shareable, as an error must be.
    Waits(Mutex<BoxFuture<'static, Result<Receipt, PublishError<E>>>>),
    /// Published; told once the other tasks of the thread had their turn.
    Yields(Result<Receipt, PublishError<E>>),
}

impl<E> Default for Chosen<E> {
    fn default() -> Self {
        Self {
            options: Options::default(),
            cause: None,
            again: None,
            later: None,
        }
    }
}

/// The event on its way back.
pub(crate) enum Returned<E> {
    Owned(E),
    Shared(Arc<E>),
}

impl<E> Returned<E> {
    #[inline]
    pub(crate) fn get(&self) -> &E {
        match self {
            Self::Owned(event) => event,
            Self::Shared(event) => event,
        }
    }

    #[inline]
    pub(crate) fn into_shared(self) -> Arc<E> {
        match self {
            Self::Owned(event) => Arc::new(event),
            Self::Shared(event) => event,
        }
    }
}

impl<E> PublishError<E> {
    pub(crate) fn new(unknown: bool, reason: Reason, id: EventId, event: Returned<E>) -> Self {
        Self(Box::new(Inner {
            unknown,
            reason,
            id,
            event,
            chosen: None,
        }))
    }

    /// Keeps what the emit chose, for a second try.
    pub(crate) fn keeping(mut self, chosen: Option<Box<Chosen<E>>>) -> Self {
        self.0.chosen = chosen;
        self
    }

    /// Whether some consumer may see the event all the same. Emitting again with the same id is
    /// safe: dedup suppresses the repeat.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.unknown
    }

    /// Whether no consumer will ever see the event.
    #[must_use]
    pub fn is_not_published(&self) -> bool {
        !self.0.unknown
    }

    /// Whether a queue was full until the deadline.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0.reason, Reason::Full { .. })
    }

    /// Whether the bus is shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.0.reason, Reason::Closed)
    }

    /// Why, in detail.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.0.id
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &E {
        match &self.0.event {
            Returned::Owned(event) => event,
            Returned::Shared(event) => event,
        }
    }

    /// The event, by value.
    ///
    /// # Errors
    ///
    /// The shared event, while a transport or listener still holds it.
    pub fn into_event(self) -> Result<E, Arc<E>> {
        match self.0.event {
            Returned::Owned(event) => Ok(event),
            Returned::Shared(event) => Arc::try_unwrap(event),
        }
    }

    pub(crate) fn into_parts(self) -> (EventId, Returned<E>, Option<Box<Chosen<E>>>) {
        (self.0.id, self.0.event, self.0.chosen)
    }
}

/// Without the event: payloads stay out of logs.
impl<E> fmt::Debug for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError")
            .field("unknown", &self.0.unknown)
            .field("reason", &self.0.reason)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = crate::text::Escaped(&self.0.id);
        if self.0.unknown {
            write!(f, "event {id} may or may not have been published")
        } else {
            write!(f, "event {id} was not published")
        }
    }
}

impl<E> Error for PublishError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0.reason)
    }
}
