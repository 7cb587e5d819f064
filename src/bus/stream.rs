use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::slot::Slot;
use crate::Event;
use crate::emit::{Called, Heard, Listening};

/// What an [`EventStream`] does when its reader is slower than the emits: a listener cannot make
/// them wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Forget the oldest event; the reader gets a [`Lagged`] in its place.
    #[default]
    DropOldest,
    /// Refuse the newest event; the reader gets a [`Lagged`] behind those it still has.
    DropNewest,
    /// End the stream behind what it holds, with a [`Lagged`].
    End,
}

/// Events that a stream had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream's reader was too slow: {missed} events are missing; read faster or raise the capacity"
)]
pub struct Lagged {
    /// How many are missing at this place.
    pub missed: u64,
}

/// This process's emits of one type, as a stream: see [`Bus::stream`](super::Bus::stream).
///
/// Holds at most [`capacity`](Self::capacity) events. It ends when the bus shuts down.
pub struct EventStream<E: Event> {
    slot: Arc<Slot<E>>,
    closed: Closed,
    buffer: Arc<Buffer<E>>,
}

impl<E: Event> EventStream<E> {
    /// How many events may wait for the reader. Default 256; 0 counts as 1.
    #[must_use]
    pub fn capacity(self, events: usize) -> Self {
        self.buffer.state().capacity = events.max(1);
        self
    }

    /// What happens when more come. Default [`Overflow::DropOldest`].
    #[must_use]
    pub fn overflow(self, policy: Overflow) -> Self {
        self.buffer.state().overflow = policy;
        self
    }

    pub(super) fn new(slot: Arc<Slot<E>>, heard: Heard) -> Self {
        let buffer = Arc::new(Buffer {
            heard,
            state: Mutex::default(),
        });
        slot.add_listener(Arc::clone(&buffer) as Arc<dyn Listening<E>>);
        Self {
            closed: closed(&slot),
            slot,
            buffer,
        }
    }
}

impl<E: Event> Stream for EventStream<E> {
    type Item = Result<Arc<E>, Lagged>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut state = this.buffer.state();
        if let Some(item) = state.items.pop_front() {
            state.events -= usize::from(item.is_ok());
            return Poll::Ready(Some(item.map_err(|missed| Lagged { missed })));
        }
        if state.ended || this.closed.as_mut().poll(task).is_ready() {
            return Poll::Ready(None);
        }
        state.waker = Some(task.waker().clone());
        Poll::Pending
    }
}

impl<E: Event> Drop for EventStream<E> {
    fn drop(&mut self) {
        self.slot.remove_listener(self.buffer.heard.subscription);
    }
}

impl<E: Event> fmt::Debug for EventStream<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("event", &E::NAME)
            .field("waiting", &self.buffer.state().items.len())
            .finish_non_exhaustive()
    }
}

/// Ready when the bus has shut down.
type Closed = Pin<Box<WaitForCancellationFutureOwned>>;

fn closed<E: Event>(slot: &Slot<E>) -> Closed {
    Box::pin(slot.core().closed.clone().cancelled_owned())
}

struct Buffer<E> {
    heard: Heard,
    state: Mutex<State<E>>,
}

struct State<E> {
    /// Events, and the numbers of those missing between them.
    items: VecDeque<Result<Arc<E>, u64>>,
    /// How many of the items are events.
    events: usize,
    capacity: usize,
    overflow: Overflow,
    ended: bool,
    waker: Option<Waker>,
}

impl<E> Default for State<E> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            events: 0,
            capacity: 256,
            overflow: Overflow::default(),
            ended: false,
            waker: None,
        }
    }
}

impl<E> Buffer<E> {
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> State<E> {
    /// Gives back what had to go, to be dropped outside of the lock.
    fn push(&mut self, event: Arc<E>) -> Option<Arc<E>> {
        if self.ended {
            return Some(event);
        }
        if self.events < self.capacity {
            self.events += 1;
            self.items.push_back(Ok(event));
            return None;
        }
        match self.overflow {
            Overflow::DropOldest => {
                let missed = match self.items.front() {
                    Some(Err(missed)) => {
                        let missed = *missed;
                        self.items.pop_front();
                        missed
                    }
                    _ => 0,
                };
                let oldest = self.items.pop_front().and_then(Result::ok);
                self.items.push_front(Err(missed + 1));
                self.items.push_back(Ok(event));
                return oldest;
            }
            Overflow::DropNewest => match self.items.back_mut() {
                Some(Err(missed)) => *missed += 1,
                _ => self.items.push_back(Err(1)),
            },
            Overflow::End => {
                self.items.push_back(Err(1));
                self.ended = true;
            }
        }
        Some(event)
    }
}

impl<E: Event> Listening<E> for Buffer<E> {
    /// The emit shares the event, because this listener keeps it.
    fn hear(&self, _event: &E) {}

    fn hear_shared(&self, event: &Arc<E>) {
        if self.heard.is_removed() {
            return;
        }
        let (_gone, waker) = {
            let mut state = self.state();
            (state.push(Arc::clone(event)), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn heard(&self) -> &Heard {
        &self.heard
    }

    fn called(self: Arc<Self>) -> Called<E> {
        Box::new(self)
    }

    fn keeps(&self) -> bool {
        true
    }
}

/// The bus was shut down before the event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus was shut down before the awaited event came")]
pub struct NeverCame;

/// The first event that fits: see [`Bus::wait_for`](super::Bus::wait_for).
#[must_use = "it listens already, but the event is only seen by awaiting it"]
pub struct WaitFor<E: Event> {
    slot: Arc<Slot<E>>,
    closed: Closed,
    wanted: Arc<Wanted<E>>,
}

impl<E: Event> WaitFor<E> {
    pub(super) fn new(
        slot: Arc<Slot<E>>,
        heard: Heard,
        predicate: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        let wanted = Arc::new(Wanted {
            heard,
            predicate: Box::new(predicate),
            found: Mutex::new((None, None)),
        });
        slot.add_listener(Arc::clone(&wanted) as Arc<dyn Listening<E>>);
        Self {
            closed: closed(&slot),
            slot,
            wanted,
        }
    }
}

impl<E: Event> Future for WaitFor<E> {
    type Output = Result<Arc<E>, NeverCame>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut found = this.wanted.found();
        if let Some(event) = found.0.take() {
            return Poll::Ready(Ok(event));
        }
        if this.closed.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(NeverCame));
        }
        found.1 = Some(task.waker().clone());
        Poll::Pending
    }
}

impl<E: Event> Drop for WaitFor<E> {
    fn drop(&mut self) {
        self.slot.remove_listener(self.wanted.heard.subscription);
    }
}

impl<E: Event> fmt::Debug for WaitFor<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFor")
            .field("event", &E::NAME)
            .finish_non_exhaustive()
    }
}

type Found<E> = (Option<Arc<E>>, Option<Waker>);

struct Wanted<E> {
    heard: Heard,
    predicate: Box<dyn Fn(&E) -> bool + Send + Sync>,
    found: Mutex<Found<E>>,
}

impl<E> Wanted<E> {
    fn found(&self) -> MutexGuard<'_, Found<E>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event> Listening<E> for Wanted<E> {
    /// As for [`Buffer`].
    fn hear(&self, _event: &E) {}

    fn hear_shared(&self, event: &Arc<E>) {
        if self.heard.is_removed() || !(self.predicate)(event) {
            return;
        }
        let waker = {
            let mut found = self.found();
            if found.0.is_some() {
                return;
            }
            found.0 = Some(Arc::clone(event));
            found.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn heard(&self) -> &Heard {
        &self.heard
    }

    fn called(self: Arc<Self>) -> Called<E> {
        Box::new(self)
    }

    fn keeps(&self) -> bool {
        true
    }
}
