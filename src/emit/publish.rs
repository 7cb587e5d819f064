//! The one way from an event to a message on the transport.

use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{
    BoxFuture, Carried, Envelope, EventId, Local, Message, Name, Origin, Payload, Reason,
    TraceContext, TryPublish,
};
use tracing::Instrument;

use super::builder::Options;
use super::context::{self, Current};
use super::error::{Again, PublishError, Returned};
use super::listen::{Firing, Listening, fire, fire_knowing};
use super::receipt::Receipt;
use crate::Event;
use crate::bus::{BusCore, Slot, Snapshot};
use crate::pipeline::{NextPublish, tracing_is_on};
use crate::recorder::Recording;

/// How an emit came out, or how it goes on.
#[allow(
    clippy::large_enum_variant,
    reason = "what waits is boxed once, as a future; boxing it here would be a second allocation"
)]
pub(crate) enum Step<E: Event> {
    Ended(Result<Receipt, PublishError<E>>),
    Waits(Waiting<E>),
}

/// A publish that cannot end at once; nothing has been published yet.
pub(crate) struct Waiting<E: Event> {
    slot: Arc<Slot<E>>,
    message: Message,
    origin: Origin,
    id: EventId,
    event: Arc<E>,
    hears: Option<Hears<E>>,
    span: Option<tracing::Span>,
    recording: Recording,
    again: Option<Box<Again>>,
}

/// Who listens to an event once it is published: those of the snapshot at the emit, however long
/// the publish waits.
struct Hears<E: Event> {
    listeners: Arc<[Arc<dyn Listening<E>>]>,
    envelope: Envelope,
}

impl<E: Event> Waiting<E> {
    /// Publishes, through the middleware if there is any.
    ///
    /// A million of these may wait at once (misuse 41), so the parts are moved once, into the one
    /// future: what an async fn takes by value it would hold twice.
    pub(crate) fn publish(self) -> BoxFuture<'static, Result<Receipt, PublishError<E>>> {
        let Self {
            slot,
            message,
            origin,
            id,
            event,
            hears,
            span,
            recording,
            again,
        } = self;
        let core = Arc::clone(slot.core());
        let publish = async move {
            let published = if core.publish_layers.is_empty() {
                recording.reached(&message);
                core.transport.publish(message, origin).await
            } else {
                let innermost = |message: Message| -> BoxFuture<'_, _> {
                    recording.reached(&message);
                    core.transport.publish(message, origin.clone())
                };
                Box::pin(NextPublish::new(&core.publish_layers, &innermost).run(message)).await
            };
            match published {
                Ok(receipt) => {
                    recording.published(&event);
                    if let Some(Hears {
                        listeners,
                        envelope,
                    }) = hears
                    {
                        heard(&slot, &listeners, Returned::Shared(event), &envelope);
                    }
                    Ok(Receipt::published(id, receipt))
                }
                Err(error) => Err(failed(error, id, event).keeping(again)),
            }
        };
        match span {
            Some(span) => Box::pin(publish.instrument(span)),
            None => Box::pin(publish),
        }
    }

    /// Keeps what the emit chose, for a second try after an error.
    pub(crate) fn keeping(mut self, again: Option<Box<Again>>) -> Self {
        self.again = again;
        self
    }

    /// Gives it up instead.
    pub(crate) fn refuse(self, reason: Reason) -> PublishError<E> {
        drop(self.message);
        PublishError::new(false, reason, self.id, Returned::Shared(self.event))
    }
}

fn failed<E>(
    error: tidings_transport::PublishError,
    id: EventId,
    event: Arc<E>,
) -> PublishError<E> {
    PublishError::new(
        error.is_unknown(),
        error.into_reason(),
        id,
        Returned::Shared(event),
    )
}

/// Whether an emit here and now is nothing but a call of listeners: no group, no context, no
/// middleware, no trace.
#[inline(always)]
fn is_plain_call<E: Event>(snapshot: &Snapshot<E>) -> bool {
    snapshot.plain && snapshot.interest.is_none() && !context::is_listening() && !tracing_is_on()
}

/// What came of an emit that only has to call listeners. It fits a register, and the event stays
/// where it is: copying either costs more than the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// There is more to do; nothing was done.
    No,
    Heard,
    /// Heard, and [`context::made`] has the id that somebody asked for.
    Asked,
}

/// Calls the listeners, if that is all there is to do.
#[inline(always)]
pub(crate) fn call_plainly<E: Event>(slot: &Slot<E>, snapshot: &Snapshot<E>, event: &E) -> Plain {
    if !is_plain_call(snapshot) {
        return Plain::No;
    }
    match fire(&snapshot.listeners, event, slot) {
        false => Plain::Heard,
        true => Plain::Asked,
    }
}

/// Emits as far as that needs no waiting.
pub(crate) fn try_now<E: Event>(
    slot: &Arc<Slot<E>>,
    snapshot: &Snapshot<E>,
    event: Returned<E>,
    cause: Option<Current>,
    options: Option<Box<Options>>,
) -> Step<E> {
    let core = slot.core();
    core.mind_the_start();
    let outgoing = Outgoing::new(slot, &event, cause, options);
    if let Err(reason) = outgoing.check(core, snapshot) {
        let error = PublishError::new(false, reason, outgoing.envelope.id, event);
        return Step::Ended(Err(error));
    }
    let span = outgoing.span(slot);
    let entered = span.as_ref().map(tracing::Span::enter);
    // A recorded emit passes the transport all the same, which then finds nobody.
    if snapshot.interest.is_none() && snapshot.layers.is_empty() && !core.recorder.is_on() {
        let id = outgoing.envelope.id.clone();
        heard(slot, &snapshot.listeners, event, &outgoing.envelope);
        return Step::Ended(Ok(Receipt::local(id)));
    }
    let shared = match event {
        Returned::Owned(event) => Arc::new(event),
        Returned::Shared(event) => event,
    };
    let hears = (!snapshot.listeners.is_empty()).then(|| Hears {
        listeners: Arc::clone(&snapshot.listeners),
        envelope: outgoing.envelope.clone(),
    });
    let id = outgoing.envelope.id.clone();
    let origin = Origin {
        group: context::running_handler().map(|(_, _, group)| group),
    };
    // Only an emit with listeners or one that fails needs the event again.
    let kept = Arc::clone(&shared);
    let message = outgoing.into_message(slot, shared);
    let recording = core.recorder.begin(&message);
    let tried = if snapshot.layers.is_empty() {
        recording.reached(&message);
        core.transport.try_publish(message, &origin)
    } else {
        TryPublish::Wait(message)
    };
    match tried {
        TryPublish::Done(receipt) => {
            recording.published(&kept);
            if let Some(Hears {
                listeners,
                envelope,
            }) = hears
            {
                heard(slot, &listeners, Returned::Shared(kept), &envelope);
            }
            Step::Ended(Ok(Receipt::published(id, receipt)))
        }
        TryPublish::Refused(error, message) => {
            drop(message);
            Step::Ended(Err(failed(error, id, kept)))
        }
        TryPublish::Wait(message) => {
            drop(entered);
            let slot = Arc::clone(slot);
            let event = kept;
            let again = None;
            Step::Waits(Waiting {
                slot,
                message,
                origin,
                id,
                event,
                hears,
                span,
                recording,
                again,
            })
        }
    }
}

/// Runs the listeners now, or behind those that run (house rule 8).
fn heard<E: Event>(
    slot: &Arc<Slot<E>>,
    listeners: &Arc<[Arc<dyn Listening<E>>]>,
    event: Returned<E>,
    envelope: &Envelope,
) {
    if listeners.is_empty() {
        return;
    }
    let known = Current::of(envelope, slot.core().id, 0, Name::from_static(""));
    let event = match event {
        // Nobody keeps it and nothing waits, so it need not be shared.
        Returned::Owned(event)
            if !context::is_listening() && !listeners.iter().any(|listener| listener.keeps()) =>
        {
            fire_knowing(listeners, &Firing::Lent(&event), slot, known);
            return;
        }
        Returned::Owned(event) => Arc::new(event),
        Returned::Shared(event) => event,
    };
    let listeners = Arc::clone(listeners);
    let slot = Arc::clone(slot);
    let run = move || {
        fire_knowing(&listeners, &Firing::Shared(&event), &slot, known);
    };
    if context::is_listening() {
        context::defer(run);
    } else {
        run();
    }
}

/// An event with its envelope, before it becomes a message.
struct Outgoing {
    envelope: Envelope,
    key: Option<Bytes>,
    options: Option<Box<Options>>,
    /// The span in which it is emitted, if that is known.
    parent: Option<u64>,
}

impl Outgoing {
    fn new<E: Event>(
        slot: &Slot<E>,
        event: &Returned<E>,
        cause: Option<Current>,
        mut options: Option<Box<Options>>,
    ) -> Self {
        let kind = slot.kind();
        let event = match event {
            Returned::Owned(event) => event,
            Returned::Shared(event) => event,
        };
        let chosen = options.as_mut().and_then(|options| options.id.take());
        let id = chosen
            .or_else(|| event.natural_id().map(EventId::from))
            .unwrap_or_else(|| EventId::fresh(slot.core().clock.now()));
        let mut envelope = Envelope::new(id, kind.name.clone(), E::VERSION, kind.source.clone());
        if envelope.id.time().is_none() {
            envelope.time = Some(slot.core().clock.now());
        }
        let mut parent = None;
        if let Some(cause) = cause {
            parent = cause.trace.as_ref().map(TraceContext::span_id);
            envelope.hops = cause.hops.saturating_add(1);
            envelope.correlation = Some(cause.correlation);
            envelope.causation = Some(cause.event);
            envelope.trace = cause.trace.map(|trace| trace.child());
        } else if !envelope.id.is_fresh() {
            // Two events with one natural id are two stories: no trace is derived from it.
            envelope.trace = Some(TraceContext::random());
        }
        let mut key = None;
        if let Some(options) = &mut options {
            key = options.key.take();
            if let Some(correlation) = options.correlation.take() {
                envelope.correlation = Some(correlation);
            }
        }
        let key = key.or_else(|| event.key().map(Bytes::from));
        Self {
            envelope,
            key,
            options,
            parent,
        }
    }

    /// contract: P6, before any I/O; S3
    fn check<E: Event>(&self, core: &BusCore, snapshot: &Snapshot<E>) -> Result<(), Reason> {
        if core.is_closing() && !is_draining(core) {
            return Err(Reason::Closed);
        }
        if let Some(rejected) = &snapshot.rejected {
            return Err(Reason::Invalid(rejected.to_string()));
        }
        if let Some(key) = &self.key
            && key.len() > core.config.max_key
        {
            return Err(Reason::Invalid(format!(
                "key of {} bytes is over the limit of {} bytes: use an id, not data",
                key.len(),
                core.config.max_key
            )));
        }
        if let Some(options) = &self.options {
            options.headers.check(core.config.max_headers)?;
            if let Some((name, _)) = options
                .headers
                .iter()
                .find(|(name, _)| name.starts_with("tidings-"))
            {
                return Err(Reason::Invalid(format!(
                    "header name {name:?} is reserved: names that begin with tidings- are the bus's own"
                )));
            }
            if options.delay.is_some() && !core.capabilities.delay {
                return Err(Reason::Unsupported(format!(
                    "transport {} cannot delay an event: emit it without `after`, or schedule it in the program",
                    core.transport.system()
                )));
            }
        }
        if context::is_listening() {
            if !snapshot.listeners.is_empty() && !context::can_defer() {
                return Err(Reason::Full {
                    group: String::from("listeners"),
                    own_queue: true,
                });
            }
            if self.envelope.hops >= core.config.max_hops {
                return Err(Reason::Invalid(format!(
                    "{} listeners and handlers in a row led to this event, the limit is {}: a listener seems to emit what it listens to",
                    self.envelope.hops, core.config.max_hops
                )));
            }
        }
        Ok(())
    }

    fn span<E: Event>(&self, slot: &Slot<E>) -> Option<tracing::Span> {
        if !tracing_is_on() {
            return None;
        }
        let envelope = &self.envelope;
        let trace = envelope.trace();
        Some(tracing::info_span!(
            "send",
            otel.name = %format_args!("send {}", slot.kind().topic),
            otel.kind = "producer",
            messaging.system = slot.core().transport.system(),
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = %slot.kind().topic,
            messaging.message.id = %crate::text::Escaped(&envelope.id),
            messaging.message.conversation_id = %crate::text::Escaped(envelope.correlation()),
            cloudevents.event_type = %envelope.name,
            correlation_id = %crate::text::Escaped(envelope.correlation()),
            trace_id = trace.as_ref().map(|trace| format!("{:032x}", trace.trace_id())),
            span_id = trace.as_ref().map(|trace| format!("{:016x}", trace.span_id())),
            parent_span_id = self.parent.map(|parent| format!("{parent:016x}")),
        ))
    }

    fn into_message<E: Event>(self, slot: &Slot<E>, event: Arc<E>) -> Message {
        let kind = slot.kind();
        let (headers, delay) = self
            .options
            .map(|options| (options.headers, options.delay))
            .unwrap_or_default();
        Message {
            topic: kind.topic.clone(),
            key: self.key,
            envelope: Carried::Local(self.envelope),
            headers,
            payload: Payload::Local(Local {
                value: event,
                encoder: Arc::clone(&kind.encoder),
            }),
            delay,
        }
    }
}

/// Whether a handler of this bus runs here, which may emit until the drain deadline.
fn is_draining(core: &BusCore) -> bool {
    !core.closed.is_cancelled()
        && context::running_handler().is_some_and(|(bus, _, _)| bus == core.id)
}
