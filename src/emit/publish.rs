//! The one way from an event to a message on the transport.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{
    BoxFuture, Envelope, EventId, Message, Name, Origin, Payload, Reason, TryPublish,
};
use tracing::Instrument;

use super::context::{self, Current, QuietTurn};
use super::error::{Chosen, PublishError, Returned};
use super::listen::{Firing, fire_inside, fire_knowing};
use super::outgoing;
use super::receipt::Receipt;
use crate::Event;
use crate::bus::{BusCore, CachedSlot, Slot, Snapshot, Taken};
use crate::pipeline::{NextPublish, tracing_is_on};
use crate::recorder::Recording;

/// How an emit came out, or how it goes on.
pub(crate) enum Step<E: Event> {
    Ended(Result<Receipt, PublishError<E>>),
    Waits(BoxFuture<'static, Result<Receipt, PublishError<E>>>),
}

/// What to do about a publish that cannot end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Wait,
    /// Give it up: then it is not published.
    None,
}

/// A publish that cannot end at once; nothing has been published yet.
struct Waiting<E: Event> {
    slot: Arc<Slot<E>>,
    message: Message,
    origin: Origin,
    id: EventId,
    event: Arc<E>,
    hears: Option<Hears<E>>,
    span: Option<tracing::Span>,
    recording: Recording,
    chosen: Option<Box<Chosen<E>>>,
}

/// Who listens to an event once it is published: those of the snapshot at the emit, however long
/// the publish waits.
struct Hears<E: Event> {
    snapshot: Arc<Snapshot<E>>,
    envelope: Envelope,
}

impl<E: Event> Waiting<E> {
    fn refused(self, error: tidings_transport::PublishError) -> PublishError<E> {
        failed(error, self.id, self.event).keeping(self.chosen)
    }

    fn wait(self, patience: Patience) -> Step<E> {
        if patience == Patience::Wait {
            return Step::Waits(self.publish());
        }
        let core = self.slot.core();
        let reason = if core.capabilities.durable {
            Reason::Unsupported(format!(
                "`try_emit` cannot wait for {} to confirm the event: use `emit(..).await`",
                core.transport.system()
            ))
        } else {
            Reason::Full {
                group: format!("that handles topic {:?}", self.slot.kind().topic),
                own_queue: false,
            }
        };
        let event = Returned::Shared(self.event);
        let error = PublishError::new(false, reason, self.id, event);
        Step::Ended(Err(error.keeping(self.chosen)))
    }

    /// Publishes, through the middleware if there is any.
    ///
    /// A million of these may wait at once (misuse 41), so the parts are moved once, into the one
    /// future: what an async fn takes by value it would hold twice.
    fn publish(self) -> BoxFuture<'static, Result<Receipt, PublishError<E>>> {
        let Self {
            slot,
            message,
            origin,
            id,
            event,
            hears,
            span,
            recording,
            chosen,
        } = self;
        let core = Arc::clone(slot.core());
        let publish = async move {
            let declared = core.declare_once(&message.topic).await;
            let published = if let Err(error) = declared {
                Err(tidings_transport::PublishError::not_published(error))
            } else if core.publish_layers.is_empty() {
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
                    if let Some(Hears { snapshot, envelope }) = hears {
                        heard(&slot, &snapshot, Returned::Shared(event), &envelope);
                    }
                    Ok(Receipt::published(id, receipt))
                }
                Err(error) => Err(failed(error, id, event).keeping(chosen)),
            }
        };
        match span {
            Some(span) => Box::pin(publish.instrument(span)),
            None => Box::pin(publish),
        }
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
    snapshot.beside_listeners.is_none() && !tracing_is_on() && context::is_quiet()
}

/// What came of an emit that may only have to call listeners. It fits a register, and the event
/// stays where it is: copying either costs more than the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// There is more to do; nothing was done.
    No,
    Heard,
    /// Heard, and [`context::made`] has the id that somebody asked for.
    Asked,
}

/// Calls the listeners by `fire`, if that is all there is to do, with a snapshot that is put back.
#[inline(always)]
pub(crate) fn call_plainly<E: Event>(
    taken: Taken<E>,
    put: impl FnOnce(Box<CachedSlot<E>>),
    fire: impl FnOnce(&Slot<E>, &Snapshot<E>, &E) -> QuietTurn,
    event: &E,
) -> Plain {
    let Some(cached) = taken else {
        return Plain::No;
    };
    let snapshot = &*cached.snapshot;
    if !is_plain_call(snapshot) {
        put(cached);
        return Plain::No;
    }
    let turn = fire(&cached.slot, snapshot, event);
    put(cached);
    match turn.end() {
        true => Plain::Asked,
        false => Plain::Heard,
    }
}

/// [`call_plainly`] where a handler runs, or where the thread has no place for the snapshot.
pub(crate) fn call_in_turn<E: Event>(cached: &CachedSlot<E>, event: &E) -> Option<Receipt> {
    let plain =
        cached.snapshot.beside_listeners.is_none() && !tracing_is_on() && !context::is_listening();
    plain.then(
        || match fire_inside(&cached.slot, &cached.snapshot, event) {
            true => Receipt::asked(),
            false => Receipt::heard(),
        },
    )
}

/// Emits as far as that needs no waiting.
pub(crate) fn try_now<E: Event>(
    cached: &CachedSlot<E>,
    event: Returned<E>,
    chosen: Option<Box<Chosen<E>>>,
    patience: Patience,
) -> Step<E> {
    let (slot, snapshot) = (&cached.slot, &cached.snapshot);
    let core = slot.core();
    core.mind_the_start();
    let options = chosen.as_ref().map(|chosen| &chosen.options);
    let mut message = outgoing::message(slot, event.get(), options);
    let cause = chosen.as_ref().and_then(|chosen| chosen.cause.as_ref());
    outgoing::complete(&mut message, core, cause, options);
    let id = outgoing::envelope(&message).id.clone();
    if let Err(reason) = outgoing::check(&message, core, snapshot, cause, options) {
        let error = PublishError::new(false, reason, id, event);
        return Step::Ended(Err(error.keeping(chosen)));
    }
    let span = outgoing::span(&message, slot, cause);
    let entered = span.as_ref().map(tracing::Span::enter);
    // A recorded emit passes the transport all the same, which then finds nobody.
    if snapshot.interest.is_none() && snapshot.layers.is_empty() && !core.recorder.is_on() {
        heard(slot, snapshot, event, outgoing::envelope(&message));
        return Step::Ended(Ok(Receipt::local(id)));
    }
    let shared = event.into_shared();
    let hears = (!snapshot.listeners.is_empty()).then(|| Hears {
        snapshot: Arc::clone(snapshot),
        envelope: outgoing::envelope(&message).clone(),
    });
    let origin = Origin {
        group: context::running_handler().map(|(_, _, group)| group),
    };
    // A transport that refuses a message hands it back, with the event; one that never leaves this
    // process hands back the very value, so only these need it beside the message.
    let keeps = hears.is_some() || core.recorder.is_on() || core.capabilities.durable;
    let kept = keeps.then(|| Arc::clone(&shared));
    message.payload = outgoing::payload(slot, shared);
    let recording = core.recorder.begin(&message);
    let tried = if snapshot.layers.is_empty() {
        recording.reached(&message);
        core.transport.try_publish(message, &origin)
    } else {
        TryPublish::Wait(message)
    };
    let (refused, message) = match tried {
        TryPublish::Done(receipt) => {
            if let Some(event) = kept {
                recording.published(&event);
                if let Some(hears) = hears {
                    let event = Returned::Shared(event);
                    heard(slot, &hears.snapshot, event, &hears.envelope);
                }
            }
            return Step::Ended(Ok(Receipt::published(id, receipt)));
        }
        TryPublish::Refused(error, message) => (Some(error), message),
        TryPublish::Wait(message) => (None, message),
    };
    drop(entered);
    let waiting = Waiting {
        slot: Arc::clone(slot),
        event: kept.unwrap_or_else(|| handed_back(core, &message)),
        message,
        origin,
        id,
        hears,
        span,
        recording,
        chosen,
    };
    match refused {
        Some(error) => Step::Ended(Err(waiting.refused(error))),
        None => waiting.wait(patience),
    }
}

/// Emits what nothing but groups gets, at the root of a story: what nearly every emit is. These are
/// [`try_now`]'s steps without those that are known to have nothing to do; `None`, with the event
/// where it was, if any of them has.
#[inline(always)]
pub(crate) fn try_straight<E: Event>(
    cached: &CachedSlot<E>,
    event: &mut Option<E>,
) -> Option<Step<E>> {
    let (slot, snapshot) = (&cached.slot, &cached.snapshot);
    if !snapshot.straight || snapshot.interest.is_none() || tracing_is_on() || !context::is_quiet()
    {
        return None;
    }
    let core = slot.core();
    if core.is_closing() {
        return None;
    }
    core.mind_the_start();
    let emitted = event.as_ref()?;
    let key = emitted.key().map(Bytes::from);
    if key
        .as_ref()
        .is_some_and(|key| key.len() > core.config.max_key)
        || emitted.natural_id().is_some()
    {
        return None;
    }
    let id = EventId::fresh(core.clock.now());
    let shared = Arc::new(event.take()?);
    let origin = Origin { group: None };
    // Made in the place of the argument: a message is some 200 bytes.
    let tried = core
        .transport
        .try_publish(outgoing::straight(slot, id.clone(), key, shared), &origin);
    Some(match tried {
        TryPublish::Done(receipt) => Step::Ended(Ok(Receipt::published(id, receipt))),
        TryPublish::Refused(error, message) => {
            Step::Ended(Err(not_straight(slot, message, id).refused(error)))
        }
        TryPublish::Wait(message) => not_straight(slot, message, id).wait(Patience::Wait),
    })
}

#[cold]
fn not_straight<E: Event>(slot: &Arc<Slot<E>>, message: Message, id: EventId) -> Waiting<E> {
    let core = slot.core();
    Waiting {
        slot: Arc::clone(slot),
        event: handed_back(core, &message),
        recording: core.recorder.begin(&message),
        message,
        origin: Origin { group: None },
        id,
        hears: None,
        span: None,
        chosen: None,
    }
}

/// The event of a message that a transport handed back.
#[cold]
#[allow(
    clippy::panic,
    reason = "a transport that keeps what it refuses breaks its contract, and the event is gone"
)]
fn handed_back<E: Event>(core: &BusCore, message: &Message) -> Arc<E> {
    if let Payload::Local(local) = &message.payload {
        let value: Arc<dyn Any + Send + Sync> = Arc::clone(&local.value);
        if let Ok(event) = value.downcast() {
            return event;
        }
    }
    panic!(
        "transport {} did not hand back the message that it refused: it must return it unchanged",
        core.transport.system()
    );
}

/// Runs the listeners now, or behind those that run (house rule 8).
fn heard<E: Event>(
    slot: &Arc<Slot<E>>,
    snapshot: &Arc<Snapshot<E>>,
    event: Returned<E>,
    envelope: &Envelope,
) {
    let listeners = &*snapshot.listeners;
    if listeners.is_empty() {
        return;
    }
    let known = Current::of(envelope, slot.core().id, 0, Name::from_static(""));
    let event = match event {
        // Nobody keeps it and nothing waits, so it need not be shared.
        Returned::Owned(event)
            if !context::is_listening() && !listeners.iter().any(|listener| listener.keeps()) =>
        {
            fire_knowing(slot, snapshot, &Firing::Lent(&event), known);
            return;
        }
        Returned::Owned(event) => Arc::new(event),
        Returned::Shared(event) => event,
    };
    let snapshot = Arc::clone(snapshot);
    let slot = Arc::clone(slot);
    let run = move || {
        fire_knowing(&slot, &snapshot, &Firing::Shared(&event), known);
    };
    if context::is_listening() {
        context::defer(run);
    } else {
        run();
    }
}
