use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{Envelope, EventId, Headers, Name, Timestamp, TraceContext};
use tokio_util::sync::CancellationToken;

use super::Attempt;

/// An event with everything known about its delivery.
///
/// It dereferences to the event. Cloning copies no event.
pub struct Delivery<E> {
    event: Arc<E>,
    envelope: Envelope,
    topic: Name,
    key: Option<Bytes>,
    headers: Headers,
    attempt: u32,
    group: Name,
    cancel: Cancel,
}

impl<E> Delivery<E> {
    pub(crate) fn new(attempt: Attempt<'_, E>) -> Self {
        Self {
            event: attempt.event,
            envelope: attempt.envelope.clone(),
            topic: attempt.message.topic.clone(),
            key: attempt.message.key.clone(),
            headers: attempt.message.headers.clone(),
            attempt: attempt.attempt,
            group: attempt.group.clone(),
            cancel: (attempt.cancel)(),
        }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &E {
        &self.event
    }

    /// The event, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<E> {
        Arc::clone(&self.event)
    }

    /// The event's id: the same on every attempt and in every group.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.envelope.id
    }

    /// The event's declared name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.envelope.name
    }

    /// The version in which the event was published, before upcasting.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.envelope.version
    }

    /// The service that emitted it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.envelope.source
    }

    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.envelope.time()
    }

    /// What it is ordered by.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        // Keys that are not UTF-8 never reach a handler: they are dead-lettered.
        self.key
            .as_deref()
            .and_then(|key| std::str::from_utf8(key).ok())
    }

    /// The headers it was emitted with.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The first value of a header, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get_str(name)
    }

    /// The id shared by everything that one cause set off.
    #[must_use]
    pub fn correlation_id(&self) -> &EventId {
        self.envelope.correlation()
    }

    /// The event whose handler emitted this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<&EventId> {
        self.envelope.attributes().causation.as_ref()
    }

    /// The W3C trace context it came with.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.envelope.trace()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The group's name on the wire.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The topic it came from.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Waits until this attempt should end early: the bus shuts down, or another member took
    /// over. The handler's future is dropped at the drain deadline (contract S1).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether this attempt should end early.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl<E> Clone for Delivery<E> {
    fn clone(&self) -> Self {
        Self {
            event: Arc::clone(&self.event),
            envelope: self.envelope.clone(),
            topic: self.topic.clone(),
            key: self.key.clone(),
            headers: self.headers.clone(),
            attempt: self.attempt,
            group: self.group.clone(),
            cancel: self.cancel.clone(),
        }
    }
}

impl<E> Deref for Delivery<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

/// The envelope, never the event: payloads stay out of logs.
impl<E> fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("name", &self.envelope.name)
            .field("id", &self.envelope.id)
            .field("attempt", &self.attempt)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// Why an attempt may have to end early.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    pub(crate) draining: CancellationToken,
    pub(crate) revoked: CancellationToken,
}

impl Cancel {
    pub(crate) async fn cancelled(&self) {
        tokio::select! {
            () = self.draining.cancelled() => {}
            () = self.revoked.cancelled() => {}
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.draining.is_cancelled() || self.revoked.is_cancelled()
    }
}
