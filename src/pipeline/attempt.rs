use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tidings_transport::{BoxFuture, TraceContext};

use super::Delivered;
use super::middleware::{DeliveryInfo, Next};
use crate::emit::{Current, Entered};
use crate::handler::{Class, Entry, Failure, Invoke, Outcome};

/// One attempt: middleware, deadline, handler.
pub(crate) async fn attempt<I: Invoke>(
    entry: &Entry<I>,
    input: &I::Input,
    delivered: Delivered<'_>,
    number: u32,
    trace: Option<&TraceContext>,
) -> Outcome {
    let layers = &*entry.info.group.layers;
    if layers.is_empty() {
        return handler(entry, input, delivered, number, trace).await;
    }
    let info = DeliveryInfo::new(delivered, number, &entry.info);
    let innermost =
        || -> BoxFuture<'_, Outcome> { Box::pin(handler(entry, input, delivered, number, trace)) };
    match caught(Next::new(layers, &info, &innermost).run()).await {
        Ok(outcome) => outcome,
        Err(panic) => panicked(panic),
    }
}

/// The handler under its deadline, in its context, with panics caught: while it is made, while it
/// runs and while it is dropped (contract M2).
async fn handler<I: Invoke>(
    entry: &Entry<I>,
    input: &I::Input,
    delivered: Delivered<'_>,
    number: u32,
    trace: Option<&TraceContext>,
) -> Outcome {
    let mut current = Some(context(entry, delivered, trace, None));
    let made = {
        let _entered = Entered::new(&mut current);
        let group = &*entry.info.group;
        catch_unwind(AssertUnwindSafe(|| {
            entry.invoke.call(input.clone(), delivered, number, group)
        }))
    };
    match made {
        Ok(future) => through(future, current, entry.info.group.settings.deadline).await,
        Err(panic) => panicked(panic),
    }
}

/// What events emitted in a handler continue, in the place of a context that has ended.
#[inline(always)]
pub(crate) fn context<I: Invoke>(
    entry: &Entry<I>,
    delivered: Delivered<'_>,
    trace: Option<&TraceContext>,
    place: Option<Box<Current>>,
) -> Box<Current> {
    let group = &*entry.info.group;
    let subscription = entry.info.subscription;
    let envelope = delivered.envelope();
    let mut current = match place {
        Some(mut place) if place.subscription == subscription => {
            place.turn_to(envelope);
            place
        }
        _ => {
            let mut current = Current::of(envelope, group.bus.id, subscription, group.name.clone());
            current.mute = group.replays && !group.settings.emits_in_replay;
            Box::new(current)
        }
    };
    if let Some(trace) = trace {
        // What it emits names the handler's span as its parent, not the producer's.
        current.trace = Some(trace.clone());
    }
    current
}

/// Runs a handler's future to its end, no longer than the deadline.
pub(crate) async fn through<F: Future<Output = Outcome>>(
    future: F,
    mut current: Option<Box<Current>>,
    deadline: Duration,
) -> Outcome {
    let mut future = pin!(Some(future));
    let outcome = {
        let run = poll_fn(|task| {
            let _entered = Entered::new(&mut current);
            let Some(running) = future.as_mut().as_pin_mut() else {
                return Poll::Ready(Ok(Outcome::Done));
            };
            match catch_unwind(AssertUnwindSafe(|| running.poll(task))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        within(deadline, run).await
    };
    let dropped = {
        let _entered = Entered::new(&mut current);
        catch_unwind(AssertUnwindSafe(|| future.set(None)))
    };
    match (outcome, dropped) {
        (Some(Ok(outcome)), Ok(())) => outcome,
        (Some(Err(panic)), _) | (Some(Ok(_)), Err(panic)) => panicked(panic),
        (None, _) => Outcome::Failed(Failure::new(
            Class::Timeout,
            format!("no result within the deadline of {deadline:?}"),
        )),
    }
}

/// `None` when the deadline passed. A future that is ready at its first poll costs no timer.
async fn within<F: Future>(deadline: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(None);
    poll_fn(|task| {
        if let Poll::Ready(output) = future.as_mut().poll(task) {
            return Poll::Ready(Some(output));
        }
        if timer.is_none() {
            timer.set(Some(tokio::time::sleep(deadline)));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(task).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(
        |task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Outcome {
    Outcome::Failed(Failure::new(
        Class::Panic,
        crate::text::panic_message(panic),
    ))
}
