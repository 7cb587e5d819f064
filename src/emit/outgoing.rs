//! From an event to the message that carries it.

use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{
    Carried, Envelope, EventId, Headers, Local, Message, Payload, Reason, TraceContext,
};

use super::builder::Options;
use super::context::{self, Current};
use crate::Event;
use crate::bus::{BusCore, Slot, Snapshot};
use crate::pipeline::tracing_is_on;

/// A message with everything but its event, which is shared only once it is certain that somebody
/// gets it.
///
/// It is made in place and moved once, into the transport: a message is some 200 bytes.
#[inline(always)]
pub(crate) fn message<E: Event>(slot: &Slot<E>, event: &E, options: Option<&Options>) -> Message {
    let id = options
        .and_then(|options| options.id.clone())
        .or_else(|| event.natural_id().map(EventId::from))
        .unwrap_or_else(|| EventId::fresh(slot.core().clock.now()));
    let key = options
        .and_then(|options| options.key.clone())
        .or_else(|| event.key().map(Bytes::from));
    carrying(slot, id, key, Payload::Tombstone)
}

/// The message of an event out of the blue that chose nothing.
#[inline(always)]
pub(crate) fn straight<E: Event>(
    slot: &Slot<E>,
    id: EventId,
    key: Option<Bytes>,
    event: Arc<E>,
) -> Message {
    carrying(slot, id, key, payload(slot, event))
}

#[inline(always)]
fn carrying<E: Event>(
    slot: &Slot<E>,
    id: EventId,
    key: Option<Bytes>,
    payload: Payload,
) -> Message {
    let kind = slot.kind();
    let (name, source) = (kind.name.clone(), kind.source.clone());
    Message {
        topic: kind.topic.clone(),
        key,
        envelope: Carried::Local(Envelope::new(id, name, E::VERSION, source)),
        headers: Headers::new(),
        payload,
        delay: None,
    }
}

/// The event as the message's data.
#[inline(always)]
pub(crate) fn payload<E: Event>(slot: &Slot<E>, event: Arc<E>) -> Payload {
    Payload::Local(Local {
        value: event,
        encoder: slot.kind().encoder.clone(),
    })
}

/// Adds what the emit chose and what it continues.
#[inline(always)]
pub(crate) fn complete(
    message: &mut Message,
    core: &BusCore,
    cause: Option<&Current>,
    options: Option<&Options>,
) {
    if !envelope(message).id.is_fresh() || cause.is_some() || options.is_some() {
        complete_rare(message, core, cause, options);
    }
}

/// What an event out of the blue, with an id of ours, does not need.
#[inline(never)]
fn complete_rare(
    message: &mut Message,
    core: &BusCore,
    cause: Option<&Current>,
    options: Option<&Options>,
) {
    if let Some(options) = options {
        message.headers = options.headers.clone();
        message.delay = options.delay;
    }
    let Carried::Local(envelope) = &mut message.envelope else {
        return;
    };
    if envelope.id.time().is_none() {
        envelope.attributes_mut().time = Some(core.clock.now());
    }
    if let Some(cause) = cause {
        envelope.hops = cause.hops.saturating_add(1);
        let attributes = envelope.attributes_mut();
        attributes.correlation = Some(cause.correlation().clone());
        attributes.causation = Some(cause.event.clone());
        attributes.trace = cause.trace.as_ref().map(TraceContext::child);
    } else if !envelope.id.is_fresh() {
        // Two events with one natural id are two stories: no trace is derived from it.
        envelope.attributes_mut().trace = Some(TraceContext::random());
    }
    if let Some(correlation) = options.and_then(|options| options.correlation.clone()) {
        envelope.attributes_mut().correlation = Some(correlation);
    }
}

#[inline(always)]
#[allow(clippy::expect_used, reason = "`message` makes a local envelope")]
pub(crate) fn envelope(message: &Message) -> &Envelope {
    message.envelope.local().expect("an envelope made here")
}

/// contract: P6, before any I/O; S3; Y2
#[inline]
pub(crate) fn check<E: Event>(
    message: &Message,
    core: &BusCore,
    snapshot: &Snapshot<E>,
    cause: Option<&Current>,
    options: Option<&Options>,
) -> Result<(), Reason> {
    if cause.is_some_and(|cause| cause.mute) {
        return Err(Reason::Replay);
    }
    if core.is_closing() && !is_draining(core) {
        return Err(Reason::Closed);
    }
    if let Some(rejected) = &snapshot.rejected {
        return Err(Reason::Invalid(rejected.to_string()));
    }
    if let Some(key) = &message.key
        && key.len() > core.config.max_key
    {
        return Err(Reason::Invalid(format!(
            "key of {} bytes is over the limit of {} bytes: use an id, not data",
            key.len(),
            core.config.max_key
        )));
    }
    if let Some(options) = options {
        check_options(core, options)?;
    }
    if context::is_listening() {
        if !snapshot.listeners.is_empty() && !context::can_defer() {
            return Err(Reason::Full {
                group: String::from("listeners"),
                own_queue: true,
            });
        }
        let hops = envelope(message).hops;
        if hops >= core.config.max_hops {
            return Err(Reason::Invalid(format!(
                "{hops} listeners and handlers in a row led to this event, the limit is {}: a listener seems to emit what it listens to",
                core.config.max_hops
            )));
        }
    }
    Ok(())
}

#[inline]
pub(crate) fn span<E: Event>(
    message: &Message,
    slot: &Slot<E>,
    cause: Option<&Current>,
) -> Option<tracing::Span> {
    tracing_is_on().then(|| made_span(message, slot, cause))
}

#[inline(never)]
fn made_span<E: Event>(
    message: &Message,
    slot: &Slot<E>,
    cause: Option<&Current>,
) -> tracing::Span {
    let envelope = envelope(message);
    let trace = envelope.trace();
    // The span in which it is emitted, if that is known.
    let parent = cause.and_then(|cause| cause.trace.as_ref());
    tracing::info_span!(
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
        parent_span_id = parent.map(|parent| format!("{:016x}", parent.span_id())),
    )
}

fn check_options(core: &BusCore, options: &Options) -> Result<(), Reason> {
    options.headers.check(core.config.max_headers)?;
    let mut names = options.headers.iter().map(|(name, _)| name);
    if let Some(name) = names.find(|name| name.starts_with("tidings-")) {
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
    Ok(())
}

/// Whether a handler of this bus runs here, which may emit until the drain deadline.
fn is_draining(core: &BusCore) -> bool {
    !core.closed.is_cancelled()
        && context::running_handler().is_some_and(|(bus, _, _)| bus == core.id)
}
