//! The first attempt of a delivery, begun on the worker's task.
//!
//! Nearly every event is handled by a first attempt that is ready at its first poll. That needs no
//! future of the whole pipeline: nothing of it but the handler ever waits. Whatever else happens,
//! [`deliver`](super::deliver()) takes over where this stopped.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tidings_transport::BoxFuture;

use super::attempt::{context, panicked};
use super::dedup::{Claim, Guard};
use super::deliver::{is_certainly_new, mark, note, try_claim};
use super::{Delivered, Verdict};
use crate::bus::GroupCore;
use crate::emit::{Current, Entered, outside, turn_to};
use crate::handler::{Entry, Invoke, Outcome, Wanted};

/// How far the first attempt came.
pub(crate) enum Begun {
    /// Nothing was done: the delivery needs more of the pipeline first.
    Not,
    /// It ended well.
    Done,
    More(First),
}

/// A first attempt that did not simply end well.
pub(crate) struct First {
    pub(crate) attempt: Attempted,
    /// Its event's id is claimed for the handler.
    pub(crate) claimed: Option<Guard>,
}

/// How a first attempt stands.
pub(crate) enum Attempted {
    Runs {
        call: BoxFuture<'static, Outcome>,
        current: Option<Box<Current>>,
    },
    Ended(Outcome),
}

impl First {
    /// Of an event that needs no claim.
    const fn unclaimed(attempt: Attempted) -> Self {
        Self {
            attempt,
            claimed: None,
        }
    }
}

/// What the first attempts of a handler use again: nearly every one ends where it began.
#[derive(Default)]
pub(crate) struct Again {
    /// A [`Place`] of the last handler's calls.
    place: Option<Box<dyn Any + Send>>,
    current: Option<Box<Current>>,
}

/// The [`Again`]s of a worker, one per handler and bounded, because handlers come and go.
#[derive(Default)]
pub(crate) struct Agains(Vec<(u64, Again)>);

const MOST_AGAINS: usize = 64;

impl Agains {
    #[inline]
    pub(crate) fn of(&mut self, subscription: u64) -> &mut Again {
        let place = match self.0.iter().position(|(of, _)| *of == subscription) {
            Some(place) => place,
            None => self.add(subscription),
        };
        &mut self.0[place].1
    }

    #[cold]
    fn add(&mut self, subscription: u64) -> usize {
        if self.0.len() == MOST_AGAINS {
            self.0.remove(0);
        }
        self.0.push((subscription, Again::default()));
        self.0.len() - 1
    }
}

/// Where calls of one handler are put, one after the other, so that one that ends at once allocates
/// nothing.
type Place<F> = Pin<Box<Option<F>>>;

/// A call that goes on in its place.
struct Running<F>(Place<F>);

impl<F: Future<Output = Outcome>> Future for Running<F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Outcome> {
        match self.0.as_mut().as_pin_mut() {
            Some(call) => call.poll(task),
            None => Poll::Pending,
        }
    }
}

/// Where deliveries come from whose first attempts are begun one after the other.
pub(crate) trait Source {
    /// The next delivery, if it is one that this handler wants.
    fn next(&self, wanted: &Wanted) -> Option<Delivered<'_>>;
    /// It was handled.
    fn handled(&mut self);
}

/// A single delivery.
pub(crate) struct Once<'a>(Option<Delivered<'a>>);

impl<'a> Once<'a> {
    pub(crate) const fn new(delivered: Delivered<'a>) -> Self {
        Self(Some(delivered))
    }
}

impl Source for Once<'_> {
    fn next(&self, _wanted: &Wanted) -> Option<Delivered<'_>> {
        self.0
    }

    fn handled(&mut self) {
        self.0 = None;
    }
}

/// Begins first attempts, until one does not simply end well or needs more of the pipeline first.
pub(crate) fn begin<I: Invoke>(
    entry: &Entry<I>,
    source: &mut impl Source,
    again: &mut Again,
) -> Begun {
    let call = |input: I::Input, delivered: Delivered<'_>| {
        entry.invoke.call(input, delivered, 1, group(entry))
    };
    begin_calls(entry, source, again, call)
}

fn begin_calls<I: Invoke, F: Future<Output = Outcome> + Send + 'static>(
    entry: &Entry<I>,
    source: &mut impl Source,
    again: &mut Again,
    call: impl Fn(I::Input, Delivered<'_>) -> F,
) -> Begun {
    let Some(first) = source.next(&entry.info.wanted) else {
        return Begun::Done;
    };
    let mut current = Some(context(entry, first, None, again.current.take()));
    let place = place_of(&mut again.place);
    let begun = {
        let _entered = Entered::new(&mut current);
        loop {
            let Some(delivered) = source.next(&entry.info.wanted) else {
                break Ok(Begun::Done);
            };
            let is_usual = is_usual(entry, delivered) && is_certainly_new(group(entry), delivered);
            let input = match is_usual {
                true => entry.invoke.local(delivered),
                false => None,
            };
            let Some(input) = input else {
                break Ok(Begun::Not);
            };
            turn_to(delivered.envelope());
            match poll_once(|| call(input, delivered), place) {
                Ok(Outcome::Done) => {
                    note(&entry.info, delivered, 1, Verdict::Completed);
                    outside(|| source.handled());
                }
                Ok(failed) => {
                    let ended = Attempted::Ended(failed);
                    break Ok(Begun::More(First::unclaimed(ended)));
                }
                Err(call) => break Err(call),
            }
        }
    };
    match begun {
        Ok(begun) => {
            again.current = current;
            begun
        }
        Err(call) => Begun::More(First::unclaimed(Attempted::Runs { call, current })),
    }
}

/// Begins the first attempt of a delivery that came encoded: decodes it, claims its id, polls the
/// handler once. Whatever is not plain is left to the rest of the pipeline, which finds it anew.
pub(crate) fn begin_encoded<I: Invoke>(
    entry: &Entry<I>,
    delivered: Delivered<'_>,
    again: &mut Again,
) -> Begun {
    let group = group(entry);
    if !is_usual(entry, delivered) {
        return Begun::Not;
    }
    // contract: D8, a dead letter is the pipeline's
    let Ok(input) = entry.invoke.decode(delivered, &*group.bus.codec) else {
        return Begun::Not;
    };
    let claimed = match try_claim(entry, delivered) {
        None => None,
        Some(Claim::First(guard)) => Some(guard),
        Some(Claim::Done | Claim::Running(_) | Claim::Collision) => return Begun::Not,
    };
    let mut current = Some(context(entry, delivered, None, again.current.take()));
    let place = place_of(&mut again.place);
    let call = || entry.invoke.call(input, delivered, 1, group);
    let polled = {
        let _entered = Entered::new(&mut current);
        poll_once(call, place)
    };
    match polled {
        Ok(Outcome::Done) => {
            again.current = current;
            if let Some(guard) = claimed {
                mark(group, guard);
            }
            note(&entry.info, delivered, 1, Verdict::Completed);
            Begun::Done
        }
        Ok(failed) => {
            again.current = current;
            let attempt = Attempted::Ended(failed);
            Begun::More(First { attempt, claimed })
        }
        Err(call) => {
            let attempt = Attempted::Runs { call, current };
            Begun::More(First { attempt, claimed })
        }
    }
}

fn group<I>(entry: &Entry<I>) -> &GroupCore {
    &entry.info.group
}

/// Whether nothing of the pipeline but decoding and dedup comes before a handler's first attempt.
#[inline(always)]
fn is_usual<I: Invoke>(entry: &Entry<I>, delivered: Delivered<'_>) -> bool {
    let group = group(entry);
    delivered.message().origination.attempt <= 1
        && !entry.info.is_removed()
        && !group.gate.is_closed()
        && group.layers.is_empty()
}

/// The place for a handler's calls, which is made when it is called first.
fn place_of<F: Send + 'static>(spare: &mut Option<Box<dyn Any + Send>>) -> &mut Place<F> {
    if !spare.as_ref().is_some_and(|spare| spare.is::<Place<F>>()) {
        *spare = Some(Box::<Place<F>>::new(Box::pin(None)));
    }
    match spare.as_mut().and_then(|spare| spare.downcast_mut()) {
        Some(place) => place,
        None => unreachable!("a place of this very type was put there"),
    }
}

/// Makes a call and polls it; one that is ready is dropped here too.
#[inline(always)]
fn poll_once<F: Future<Output = Outcome> + Send + 'static>(
    make: impl FnOnce() -> F,
    place: &mut Place<F>,
) -> Result<Outcome, BoxFuture<'static, Outcome>> {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        place.set(Some(make()));
        let Some(call) = place.as_mut().as_pin_mut() else {
            unreachable!("a call was put there");
        };
        // No wake-up is lost: what is pending is polled again at once, with its own waker.
        let polled = call.poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            place.set(None);
        }
        polled
    }));
    match polled {
        Ok(Poll::Ready(outcome)) => Ok(outcome),
        Ok(Poll::Pending) => {
            let place = std::mem::replace(place, Box::pin(None));
            Err(Box::pin(Running(place)))
        }
        Err(panic) => {
            // A panic while this one unwinds would end the process.
            let dropped = catch_unwind(AssertUnwindSafe(|| place.set(None)));
            drop(dropped.map_err(crate::text::panic_message));
            Ok(panicked(panic))
        }
    }
}
