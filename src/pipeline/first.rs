//! The first attempt of a delivery, begun on the worker's task.
//!
//! Nearly every event is handled by a first attempt that is ready at its first poll. That needs no
//! future of the whole pipeline: nothing of it but the handler ever waits. Whatever else happens,
//! [`deliver`](super::deliver()) takes over where this stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use tidings_transport::BoxFuture;

use super::attempt::{context, panicked};
use super::deliver::{is_certainly_new, note};
use super::{Job, Verdict};
use crate::emit::{Current, Entered};
use crate::handler::{Entry, Invoke, Outcome};

/// How far the first attempt came.
pub(crate) enum Begun {
    /// Nothing was done: the delivery needs more of the pipeline first.
    Not,
    /// It ended well.
    Done,
    More(First),
}

/// A first attempt that did not simply end well.
pub(crate) enum First {
    Runs {
        future: BoxFuture<'static, Outcome>,
        current: Option<Box<Current>>,
    },
    Ended(Outcome),
}

/// Begins the first attempt, if nothing of the pipeline comes before it.
pub(crate) fn begin<I: Invoke>(entry: &Entry<I>, job: &Job) -> Begun {
    let group = &*entry.info.group;
    let is_first = job.message().origination.attempt <= 1;
    if !is_first
        || entry.info.is_removed()
        || group.gate.is_closed()
        || !group.layers.is_empty()
        || !is_certainly_new(group, job)
    {
        return Begun::Not;
    }
    let Some(input) = entry.invoke.local(job) else {
        return Begun::Not;
    };
    let mut current = Some(context(entry, job, None));
    let outcome = {
        let _entered = Entered::new(&mut current);
        // Boxed inside of the guard, so that it is made where it stays.
        let made = catch_unwind(AssertUnwindSafe(|| {
            Box::pin(entry.invoke.call(&input, job, 1, group))
        }));
        let mut future = match made {
            Ok(future) => future,
            Err(panic) => return Begun::More(First::Ended(panicked(panic))),
        };
        // No wake-up is lost: what is pending is polled again at once, with a waker of its own.
        let mut task = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut task))) {
            Ok(Poll::Pending) => Err(future as BoxFuture<'static, Outcome>),
            Ok(Poll::Ready(outcome)) => {
                match catch_unwind(AssertUnwindSafe(|| drop((future, input)))) {
                    Ok(()) => Ok(outcome),
                    Err(panic) => Ok(panicked(panic)),
                }
            }
            Err(panic) => {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop((future, input))));
                drop(dropped.map_err(crate::text::panic_message));
                Ok(panicked(panic))
            }
        }
    };
    match outcome {
        Err(future) => Begun::More(First::Runs { future, current }),
        Ok(Outcome::Done) => {
            if let Some(place) = current {
                place.recycle();
            }
            note(&entry.info, job, 1, Verdict::Completed);
            Begun::Done
        }
        Ok(failed) => Begun::More(First::Ended(failed)),
    }
}
