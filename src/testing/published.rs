use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{Envelope, EventId, Headers, Message, Name, Timestamp, TraceContext};

/// An event that was published, with what it was published with: see
/// [`TestBus::published`](super::TestBus::published).
///
/// It dereferences to the event. Cloning copies no event.
pub struct Published<E> {
    event: Arc<E>,
    about: Arc<About>,
}

/// What goes with an event.
pub(super) struct About {
    pub(super) envelope: Envelope,
    topic: Name,
    key: Option<Bytes>,
    headers: Headers,
    delay: Option<Duration>,
}

impl About {
    pub(super) fn new(envelope: Envelope) -> Self {
        Self {
            topic: envelope.name.clone(),
            envelope,
            key: None,
            headers: Headers::new(),
            delay: None,
        }
    }

    /// Takes over what a middleware may have changed.
    pub(super) fn update(&mut self, message: &Message) {
        self.topic = message.topic.clone();
        self.key = message.key.clone();
        self.headers = message.headers.clone();
        self.delay = message.delay;
    }
}

impl<E> Published<E> {
    pub(super) fn new(event: Arc<E>, about: Arc<About>) -> Self {
        Self { event, about }
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

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.about.envelope.id
    }

    /// The service that emitted it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.about.envelope.source
    }

    /// When it happened, by the bus's clock.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.about.envelope.time()
    }

    /// The topic it went to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.about.topic
    }

    /// What it is ordered by, if that is UTF-8, as every key of an emit is.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.about
            .key
            .as_deref()
            .and_then(|key| std::str::from_utf8(key).ok())
    }

    /// The headers it was emitted with, and those that a middleware added.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.about.headers
    }

    /// The first value of a header, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.about.headers.get_str(name)
    }

    /// The id shared by everything that one cause set off; its own where nothing did.
    #[must_use]
    pub fn correlation_id(&self) -> &EventId {
        self.about.envelope.correlation()
    }

    /// The event whose handler emitted this one.
    #[must_use]
    pub fn causation_id(&self) -> Option<&EventId> {
        self.about.envelope.attributes().causation.as_ref()
    }

    /// The W3C trace context it carries.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.about.envelope.trace()
    }

    /// How long its delivery was put off.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.about.delay
    }
}

impl<E> Clone for Published<E> {
    fn clone(&self) -> Self {
        Self {
            event: Arc::clone(&self.event),
            about: Arc::clone(&self.about),
        }
    }
}

impl<E> Deref for Published<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

/// With the event, unlike a [`Delivery`](crate::Delivery): this is what a failed assertion prints.
impl<E: fmt::Debug> fmt::Debug for Published<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("event", &self.event)
            .field("id", self.id())
            .field("key", &self.key())
            .field("headers", self.headers())
            .field("correlation_id", self.correlation_id())
            .field("causation_id", &self.causation_id())
            .finish_non_exhaustive()
    }
}
