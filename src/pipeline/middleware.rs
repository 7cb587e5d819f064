use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tidings_transport::{BoxFuture, EventId, Headers, Message, Name, PublishError, Receipt};

use super::Delivered;
use crate::handler::{HandlerInfo, Outcome};

/// Code around every handler, every publish, or both.
///
/// Register it in a named slot: [`around_handlers`](crate::BusBuilder::around_handlers) for a bus,
/// [`Group::around_handlers`](crate::Group::around_handlers) for one group,
/// [`around_publish`](crate::BusBuilder::around_publish) for the bus's publishes. The bus's own
/// stages keep their fixed order around it: a middleware runs once per attempt, inside the retry
/// and outside the deadline; the first one registered is the outermost.
///
/// ```
/// use tidings::{DeliveryInfo, Middleware, Next, Outcome, async_trait};
///
/// struct Audit;
///
/// #[async_trait]
/// impl Middleware for Audit {
///     async fn handle(&self, delivery: &DeliveryInfo, next: Next<'_>) -> Outcome {
///         println!("{} attempt {}", delivery.name(), delivery.attempt());
///         next.run().await
///     }
/// }
/// ```
#[async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Runs around one attempt of a handler. Not calling `next` skips the handler; the outcome
    /// returned is what counts. A panic here is a failed attempt.
    async fn handle(&self, delivery: &DeliveryInfo, next: Next<'_>) -> Outcome {
        let _ = delivery;
        next.run().await
    }

    /// Runs around one publish. It may change topic, key and headers of the message.
    ///
    /// # Errors
    ///
    /// What `next` returns, or a refusal of its own as
    /// [`PublishError::not_published`](tidings_transport::PublishError::not_published).
    async fn publish(
        &self,
        message: Message,
        next: NextPublish<'_>,
    ) -> Result<Receipt, PublishError> {
        next.run(message).await
    }
}

/// The rest of the way to a handler.
pub struct Next<'a> {
    layers: &'a [Arc<dyn Middleware>],
    delivery: &'a DeliveryInfo,
    handler: &'a (dyn Fn() -> BoxFuture<'a, Outcome> + Send + Sync),
}

impl<'a> Next<'a> {
    pub(crate) fn new(
        layers: &'a [Arc<dyn Middleware>],
        delivery: &'a DeliveryInfo,
        handler: &'a (dyn Fn() -> BoxFuture<'a, Outcome> + Send + Sync),
    ) -> Self {
        Self {
            layers,
            delivery,
            handler,
        }
    }

    /// Runs it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the attempt, which counts as failed.
    pub async fn run(self) -> Outcome {
        match self.layers.split_first() {
            Some((first, rest)) => {
                first
                    .handle(
                        self.delivery,
                        Next {
                            layers: rest,
                            ..self
                        },
                    )
                    .await
            }
            None => (self.handler)().await,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

/// The rest of the way to the transport.
pub struct NextPublish<'a> {
    layers: &'a [Arc<dyn Middleware>],
    transport: &'a (dyn Fn(Message) -> BoxFuture<'a, Result<Receipt, PublishError>> + Send + Sync),
}

impl<'a> NextPublish<'a> {
    pub(crate) fn new(
        layers: &'a [Arc<dyn Middleware>],
        transport: &'a (
                dyn Fn(Message) -> BoxFuture<'a, Result<Receipt, PublishError>> + Send + Sync
            ),
    ) -> Self {
        Self { layers, transport }
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// NotPublished or Unknown (contract P1).
    ///
    /// # Cancel safety
    ///
    /// A dropped publish is Unknown (contract P4).
    pub async fn run(self, message: Message) -> Result<Receipt, PublishError> {
        match self.layers.split_first() {
            Some((first, rest)) => {
                first
                    .publish(
                        message,
                        NextPublish {
                            layers: rest,
                            ..self
                        },
                    )
                    .await
            }
            None => (self.transport)(message).await,
        }
    }
}

impl fmt::Debug for NextPublish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextPublish")
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

/// What a [`Middleware`] knows about the attempt it is around.
#[derive(Clone)]
pub struct DeliveryInfo {
    name: Name,
    version: u32,
    id: EventId,
    correlation: EventId,
    topic: Name,
    headers: Headers,
    attempt: u32,
    group: Name,
    handler: Name,
}

impl DeliveryInfo {
    pub(crate) fn new(delivered: Delivered<'_>, attempt: u32, handler: &HandlerInfo) -> Self {
        let envelope = delivered.envelope();
        Self {
            name: envelope.name.clone(),
            version: envelope.version,
            id: envelope.id.clone(),
            correlation: envelope.correlation().clone(),
            topic: delivered.message().topic.clone(),
            headers: delivered.message().headers.clone(),
            attempt,
            group: handler.group.name.clone(),
            handler: handler.name.clone(),
        }
    }

    /// The event's declared name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version it was published in.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// The id shared by everything that one cause set off.
    #[must_use]
    pub fn correlation_id(&self) -> &EventId {
        &self.correlation
    }

    /// The topic it came from.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
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

    /// The handler's name.
    #[must_use]
    pub fn handler(&self) -> &str {
        &self.handler
    }
}

impl fmt::Debug for DeliveryInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryInfo")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("group", &self.group)
            .field("handler", &self.handler)
            .finish_non_exhaustive()
    }
}
