//! Spans and log lines of the pipeline, with OpenTelemetry's messaging names.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/> (status
//! Development). No line or span ever holds a payload; texts from outside are escaped.

use tidings_transport::{PublishError, TraceContext};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};

use super::dead::Cause;
use super::job::Delivered;
use super::retry::Next;
use crate::bus::GroupCore;
use crate::handler::{Class, HandlerInfo};
use crate::text::{Escaped, chain};

/// Whether anybody listens for spans: one load of a global.
#[inline]
pub(crate) fn tracing_is_on() -> bool {
    LevelFilter::current() >= Level::INFO
}

/// The span around a handler. It continues the producer's trace: same trace id, the producer's
/// span as parent.
pub(crate) fn process_span(handler: &HandlerInfo, delivered: Delivered<'_>) -> Span {
    let envelope = delivered.envelope();
    let group = &handler.group;
    let parent = envelope.trace();
    tracing::info_span!(
        "process",
        otel.name = %format_args!("process {}", Escaped(&delivered.message().topic)),
        otel.kind = "consumer",
        messaging.system = group.bus.transport.system(),
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = %Escaped(&delivered.message().topic),
        messaging.consumer.group.name = %group.name,
        messaging.message.id = %Escaped(&envelope.id),
        messaging.message.conversation_id = %Escaped(envelope.correlation()),
        cloudevents.event_type = %Escaped(&envelope.name),
        correlation_id = %Escaped(envelope.correlation()),
        handler = %handler.name,
        trace_id = parent.as_ref().map(|trace| format!("{:032x}", trace.trace_id())),
        parent_span_id = parent.as_ref().map(|trace| format!("{:016x}", trace.span_id())),
        span_id = tracing::field::Empty,
    )
}

/// The handler's own place in the producer's trace, which events emitted in the handler name as
/// their parent; noted on the span around it, which must be the current one. `None` while nobody
/// listens for spans: then there is no span to name.
pub(crate) fn own_span(delivered: Delivered<'_>) -> Option<Box<TraceContext>> {
    if !tracing_is_on() {
        return None;
    }
    let own = delivered.envelope().trace()?.child();
    Span::current().record("span_id", format!("{:016x}", own.span_id()));
    Some(Box::new(own))
}

pub(crate) fn failed(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    attempt: u32,
    class: Class,
    error: &str,
    next: &Next,
) {
    let envelope = delivered.envelope();
    let retry_in = match next {
        Next::Retry(after) => Some(*after),
        Next::DeadLetter(_) => None,
    };
    tracing::warn!(
        event = %Escaped(&envelope.name),
        id = %Escaped(&envelope.id),
        handler = %handler.name,
        group = %handler.group.name,
        attempt,
        correlation_id = %Escaped(envelope.correlation()),
        class = class.as_str(),
        retry_in = retry_in.map(tracing::field::debug),
        error,
        "handler failed"
    );
}

pub(crate) fn not_put_aside(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    topic: &str,
    error: &PublishError,
) {
    tracing::warn!(
        id = %Escaped(delivered.envelope_id()),
        handler = %handler.name,
        group = %handler.group.name,
        topic,
        error = chain(error),
        "event could not be put aside for its retry: it waits in its lane, and its key with it"
    );
}

pub(crate) fn duplicate(handler: &HandlerInfo, delivered: Delivered<'_>) {
    let envelope = delivered.envelope();
    tracing::debug!(
        event = %Escaped(&envelope.name),
        id = %Escaped(&envelope.id),
        handler = %handler.name,
        group = %handler.group.name,
        correlation_id = %Escaped(envelope.correlation()),
        "duplicate suppressed"
    );
}

pub(crate) fn dead_letter(
    group: &GroupCore,
    handler: Option<&HandlerInfo>,
    delivered: Delivered<'_>,
    cause: &Cause,
) {
    tracing::error!(
        event = %Escaped(delivered.envelope_name()),
        id = %Escaped(delivered.envelope_id()),
        handler = handler.map(|handler| tracing::field::display(&handler.name)),
        group = %group.name,
        attempt = cause.attempts,
        correlation_id = %Escaped(delivered.envelope_correlation()),
        reason = cause.reason.as_str(),
        error = cause.error,
        kept = group.dead_letters.is_some(),
        "event dead-lettered"
    );
}

pub(crate) fn dead_letter_failed(
    group: &GroupCore,
    delivered: Delivered<'_>,
    topic: &str,
    error: &PublishError,
) {
    tracing::error!(
        id = %Escaped(delivered.envelope_id()),
        group = %group.name,
        topic,
        error = chain(error),
        "dead letter could not be written: the event stays unsettled and its key waits"
    );
}
