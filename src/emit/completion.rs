use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use tidings_transport::{EventId, Name};
use tokio::sync::Notify;

use super::builder::Emit;
use super::context::running_handler;
use super::error::PublishError;
use crate::Event;

/// How one handler ended with an event, in [`Completion`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerOutcome {
    /// The group, by its name on the wire.
    pub group: Name,
    /// The handler; empty where the event could not be read for any.
    pub handler: Name,
    /// How it ended.
    pub ended: Ended,
}

/// The final states of one handler's share of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// Handled.
    Completed,
    /// Suppressed: it was handled before.
    Duplicate,
    /// Given up and dead-lettered.
    DeadLettered,
}

/// What became of an event in every group: see [`Emit::completed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// One entry per handler, in the order they ended.
    pub outcomes: Vec<HandlerOutcome>,
}

impl Completion {
    /// Whether no handler gave the event up.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcomes
            .iter()
            .all(|outcome| outcome.ended != Ended::DeadLettered)
    }
}

/// Why there is no [`Completion`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompletedError<E> {
    /// The event was not published, or may not have been.
    #[error(transparent)]
    Publish(#[from] PublishError<E>),
    /// The handlers may run in other processes.
    #[error(
        "completion over {0} cannot be known: handlers may run elsewhere; await the emit alone, or an event that answers"
    )]
    Unsupported(&'static str),
    /// The handler that waits is one of those it waits for.
    #[error("a handler of group {0} waits for its own group: it would wait for ever")]
    WouldDeadlock(Name),
    /// The bus was shut down, or a group stopped after a dead letter, before every handler had
    /// ended.
    #[error("the bus was shut down, or a group stopped, before every handler had ended")]
    Closed,
}

impl<E: Event> Emit<'_, E> {
    /// Emits, and waits until every handler in this process has ended with the event, retries and
    /// dead letters included.
    ///
    /// # Errors
    ///
    /// `Publish` as the emit itself; `Unsupported` over a broker; `WouldDeadlock` inside a handler
    /// of a group that gets the event; `Closed` when the bus shuts down, or a group stops, first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the handlers.
    pub async fn completed(mut self) -> Result<Completion, CompletedError<E>> {
        let core = Arc::clone(self.bus.core());
        if core.capabilities.durable {
            return Err(CompletedError::Unsupported(core.transport.system()));
        }
        if let Some((bus, _, group)) = running_handler()
            && bus == core.id
            && self.bus.group_gets::<E>(&group)
        {
            return Err(CompletedError::WouldDeadlock(group));
        }
        // The id is made here, so that it is known before the first handler can end.
        let natural = self.natural_id();
        let id = self
            .options()
            .id
            .get_or_insert_with(|| {
                natural.map_or_else(|| EventId::fresh(core.clock.now()), EventId::from)
            })
            .clone();
        let tracked = core.completions.track(&id);
        let bus = self.bus;
        let groups = self.await?.groups().to_vec();
        let all_done = async {
            loop {
                let mut changed = std::pin::pin!(tracked.changed.notified());
                changed.as_mut().enable();
                {
                    let state = tracked.state();
                    let mut left = groups.iter().filter(|group| !state.groups.contains(group));
                    if left.clone().next().is_none() {
                        return Ok(state.completion.clone());
                    }
                    if left.any(|group| bus.has_stopped(group)) {
                        return Err(CompletedError::Closed);
                    }
                }
                changed.await;
            }
        };
        tokio::select! {
            completion = all_done => completion,
            () = core.closed.cancelled() => Err(CompletedError::Closed),
        }
    }
}

/// The emits whose handlers are waited for, by id.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    tracked: DashMap<EventId, Arc<Tracked>>,
    /// Mirrors the table's size, so that nobody waiting costs one load.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tracked {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    completion: Completion,
    groups: Vec<Name>,
    /// The groups that will settle it once more than they have, once for each time.
    aside: Vec<Name>,
    waiters: usize,
}

impl State {
    /// Forgets one time that the group put the event aside, if there is one.
    fn takes_back(&mut self, group: &Name) -> bool {
        let at = self.aside.iter().position(|aside| aside == group);
        at.map(|at| self.aside.swap_remove(at)).is_some()
    }
}

impl Tracked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Completions {
    #[inline]
    pub(crate) fn is_tracking(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    fn track(&self, id: &EventId) -> Tracking<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        let tracked = {
            let entry = self.tracked.entry(id.clone()).or_default();
            // Under the entry's lock: somebody who just stops waiting must not remove it.
            entry.state().waiters += 1;
            Arc::clone(&entry)
        };
        Tracking {
            table: self,
            id: id.clone(),
            tracked,
        }
    }

    /// One handler's share is final.
    pub(crate) fn handler_done(&self, id: &EventId, outcome: impl FnOnce() -> HandlerOutcome) {
        if let Some(tracked) = self.find(id) {
            tracked.state().completion.outcomes.push(outcome());
        }
    }

    /// A group puts the event aside for one of its handlers, and will settle it there as well.
    pub(crate) fn put_aside(&self, id: &EventId, group: &Name) {
        if let Some(tracked) = self.find(id) {
            tracked.state().aside.push(group.clone());
        }
    }

    /// It did not come to that.
    pub(crate) fn takes_back(&self, id: &EventId, group: &Name) {
        if let Some(tracked) = self.find(id) {
            tracked.state().takes_back(group);
        }
    }

    /// A group has settled the event, or is gone.
    pub(crate) fn group_done(&self, id: &EventId, group: &Name) {
        if let Some(tracked) = self.find(id) {
            let mut state = tracked.state();
            if state.takes_back(group) {
                return;
            }
            state.groups.push(group.clone());
            drop(state);
            tracked.changed.notify_waiters();
        }
    }

    /// Has everybody who waits look again, as when a group has stopped.
    pub(crate) fn wake(&self) {
        for tracked in &self.tracked {
            tracked.changed.notify_waiters();
        }
    }

    fn find(&self, id: &EventId) -> Option<Arc<Tracked>> {
        self.tracked.get(id).map(|tracked| Arc::clone(&tracked))
    }
}

struct Tracking<'a> {
    table: &'a Completions,
    id: EventId,
    tracked: Arc<Tracked>,
}

impl std::ops::Deref for Tracking<'_> {
    type Target = Tracked;

    fn deref(&self) -> &Tracked {
        &self.tracked
    }
}

impl Drop for Tracking<'_> {
    fn drop(&mut self) {
        let last = {
            let mut state = self.tracked.state();
            state.waiters -= 1;
            state.waiters == 0
        };
        if last {
            self.table
                .tracked
                .remove_if(&self.id, |_, tracked| tracked.state().waiters == 0);
        }
        self.table.count.fetch_sub(1, Ordering::AcqRel);
    }
}
