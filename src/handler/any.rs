use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{Envelope, EventId, Headers, Name, Timestamp, TraceContext};

use super::{Cancel, IntoOutcome, Outcome};
use crate::Event;
use crate::bus::GroupCore;
use crate::event::{DecodeError, decode};
use crate::pipeline::Delivered;

/// An event of any type, undecoded: what [`Bus::on_pattern`](crate::Bus::on_pattern) hands over.
///
/// Its data stays as it came until it is asked for, so a consumer of everything (an audit, a
/// forwarder) sees events that no typed handler can decode.
#[derive(Clone)]
pub struct AnyEvent {
    envelope: Envelope,
    topic: Name,
    key: Option<Bytes>,
    headers: Headers,
    data: Arc<Result<Bytes, DecodeError>>,
    attempt: u32,
    group: Name,
    cancel: Cancel,
}

impl AnyEvent {
    pub(crate) fn new(delivered: Delivered<'_>, attempt: u32, group: &GroupCore) -> Self {
        let message = delivered.message();
        Self {
            envelope: delivered.envelope().clone(),
            topic: message.topic.clone(),
            key: message.key.clone(),
            headers: message.headers.clone(),
            data: Arc::new(delivered.data(&*group.bus.codec)),
            attempt,
            group: group.name.clone(),
            cancel: Cancel {
                draining: group.draining.clone(),
                revoked: delivered.revoked().clone(),
            },
        }
    }

    /// The event's declared name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.envelope.name
    }

    /// The version it was published in.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.envelope.version
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.envelope.id
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

    /// The topic it came from.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What it is ordered by.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key
            .as_deref()
            .and_then(|key| std::str::from_utf8(key).ok())
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
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

    /// The encoded data.
    ///
    /// # Errors
    ///
    /// When the event came as a value of this process and has no encoding.
    pub fn data(&self) -> Result<&Bytes, &DecodeError> {
        self.data.as_ref().as_ref()
    }

    /// The data as JSON.
    ///
    /// # Errors
    ///
    /// When it is no JSON that the limits allow.
    #[cfg(feature = "json")]
    pub fn json(&self) -> Result<serde_json::Value, DecodeError> {
        crate::codec::json::from_slice(self.data().map_err(Clone::clone)?)
    }

    /// The data as an event, upcast where that is needed, whatever the name says.
    ///
    /// # Errors
    ///
    /// When it cannot be decoded as `E`.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        decode(self.version(), self.data().map_err(Clone::clone)?)
    }

    /// See [`Delivery::cancelled`](crate::Delivery::cancelled).
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

/// The envelope, never the data: payloads stay out of logs.
impl fmt::Debug for AnyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyEvent")
            .field("name", &self.envelope.name)
            .field("version", &self.envelope.version)
            .field("id", &self.envelope.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// An async function or closure over [`AnyEvent`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle events of any type",
    label = "not a handler of `AnyEvent`",
    note = "write `async |event: AnyEvent| {{ .. }}`; the result is `()` or `Result<(), E>`"
)]
pub trait AnyHandler: Send + Sync + 'static {
    /// Runs the handler on one attempt.
    fn call(&self, event: AnyEvent) -> impl Future<Output = Outcome> + Send + 'static + use<Self>;
}

impl<F, Fut> AnyHandler for F
where
    F: Fn(AnyEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    fn call(
        &self,
        event: AnyEvent,
    ) -> impl Future<Output = Outcome> + Send + 'static + use<F, Fut> {
        let future = self(event);
        async move { future.await.into_outcome() }
    }
}
