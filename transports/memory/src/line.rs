//! A topic and the line of publishers that wait for room in it.
//!
//! Who waits has put its message in the line and holds nothing else. Whoever makes room serves the
//! line from its head, so a waiter that goes away blocks nobody, and nobody overtakes (P5). One
//! exception keeps handlers from waiting for themselves: a message that a group's own handler
//! emits passes those that wait for this very group's queue, into its spill.
//!
//! While anybody waits, the topic is noted with the group whose queue was found full, or somebody
//! is serving it right now.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tidings_transport::{Message, Name, Origin, PublishError, Reason, Receipt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error;
use crate::link::Link;
use crate::route::{Obstacle, Offer, Offered, Route};
use crate::sync::{Wakers, lock};

/// How a wait in the line ended.
pub(crate) type Answer = Result<Receipt, PublishError>;

/// A topic that somebody published to or asked about.
pub(crate) struct Topic {
    pub(crate) interest: Arc<AtomicUsize>,
    me: Weak<Self>,
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

struct Line {
    route: Arc<Route>,
    /// By ticket, so in the order of arrival.
    waiters: BTreeMap<u64, Waiting>,
    next: u64,
    /// How many of them are emits of a handler.
    emitters: usize,
    /// The group that the head waits for.
    blocked_by: Option<Name>,
}

/// A message that waits for room.
pub(crate) struct Waiter {
    pub(crate) message: Message,
    pub(crate) due: Option<Instant>,
    pub(crate) origin: Origin,
    pub(crate) link: Arc<Link>,
}

struct Waiting {
    waiter: Waiter,
    answer: oneshot::Sender<Answer>,
}

type Served = (oneshot::Sender<Answer>, Done);

/// What became of somebody who came to the line.
pub(crate) enum Queued {
    Answered(Answer),
    Waits(Ticket),
}

/// A place in the line; dropping it leaves the line.
pub(crate) struct Ticket {
    topic: Arc<Topic>,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Topic {
    pub(crate) fn new(route: Arc<Route>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            interest: Arc::new(AtomicUsize::new(route.readers())),
            me: Weak::clone(me),
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line {
                route,
                waiters: BTreeMap::new(),
                next: 0,
                emitters: 0,
                blocked_by: None,
            }),
        })
    }

    /// Whether somebody waits, whom nobody may overtake.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The topic goes elsewhere from now on.
    pub(crate) fn reroute(&self, route: &Arc<Route>) {
        lock(&self.line).route = Arc::clone(route);
        self.interest.store(route.readers(), Ordering::Release);
    }

    /// Publishes now if that is possible, else waits at the end of the line.
    pub(crate) fn queue_up(self: &Arc<Self>, waiter: Waiter) -> Queued {
        let mut line = lock(&self.line);
        if waiter.link.is_closed() {
            return Queued::Answered(Err(error::closed_publish()));
        }
        let origin = waiter.origin.group.as_ref();
        if line.waiters.is_empty() || line.route.is_own_full(origin) {
            match self.attempt(&mut line, waiter) {
                Tried::Answered(done) => {
                    drop(line);
                    done.wakers.wake();
                    Queued::Answered(done.answer)
                }
                Tried::Blocked(waiter, group) => {
                    if line.waiters.is_empty() {
                        line.blocked_by = Some(group);
                    }
                    self.enter(&mut line, waiter)
                }
            }
        } else {
            self.enter(&mut line, waiter)
        }
    }

    /// Serves the head of the line; whether somebody else may be served now.
    pub(crate) fn serve_one(&self) -> bool {
        let mut line = lock(&self.line);
        let mut served = Vec::new();
        let Some((&ticket, _)) = line.waiters.first_key_value() else {
            return false;
        };
        let blocked_by = self.serve(&mut line, ticket, &mut served);
        if let Some(group) = &blocked_by {
            for ticket in line.emitting(group) {
                self.serve(&mut line, ticket, &mut served);
            }
        }
        let more = blocked_by.is_none() && !line.waiters.is_empty();
        line.blocked_by = blocked_by;
        drop(line);
        for (sender, done) in served {
            done.wakers.wake();
            // Who gave up meanwhile takes the outcome as Unknown (P4).
            let _ = sender.send(done.answer);
        }
        more
    }

    /// Ends the waits of a connection that closes.
    pub(crate) fn turn_away(&self, link: &Arc<Link>) {
        if !self.has_waiters() {
            return;
        }
        let mut line = lock(&self.line);
        let theirs: Vec<u64> = line
            .waiters
            .iter()
            .filter(|(_, waiting)| Arc::ptr_eq(&waiting.waiter.link, link))
            .map(|(&ticket, _)| ticket)
            .collect();
        let left: Vec<_> = theirs
            .into_iter()
            .filter_map(|ticket| self.exit(&mut line, ticket))
            .collect();
        drop(line);
        for waiting in left {
            // Nobody listens any more: then nobody needs the answer.
            let _ = waiting.answer.send(Err(error::closed_publish()));
        }
    }

    fn enter(self: &Arc<Self>, line: &mut Line, waiter: Waiter) -> Queued {
        let (sender, answer) = oneshot::channel();
        let number = line.next;
        line.next += 1;
        line.emitters += usize::from(waiter.origin.group.is_some());
        line.waiters.insert(
            number,
            Waiting {
                waiter,
                answer: sender,
            },
        );
        self.waiting.store(line.waiters.len(), Ordering::Release);
        Queued::Waits(Ticket {
            topic: Arc::clone(self),
            number,
            answer,
        })
    }

    fn exit(&self, line: &mut Line, ticket: u64) -> Option<Waiting> {
        let waiting = line.waiters.remove(&ticket)?;
        line.emitters -= usize::from(waiting.waiter.origin.group.is_some());
        self.waiting.store(line.waiters.len(), Ordering::Release);
        Some(waiting)
    }

    /// Tries one that waits; the group it waits for on, if it must.
    fn serve(&self, line: &mut Line, ticket: u64, served: &mut Vec<Served>) -> Option<Name> {
        let Waiting { waiter, answer } = line.waiters.remove(&ticket)?;
        let emitter = usize::from(waiter.origin.group.is_some());
        match self.attempt(line, waiter) {
            Tried::Answered(done) => {
                line.emitters -= emitter;
                self.waiting.store(line.waiters.len(), Ordering::Release);
                served.push((answer, done));
                None
            }
            Tried::Blocked(waiter, group) => {
                line.waiters.insert(ticket, Waiting { waiter, answer });
                Some(group)
            }
        }
    }

    fn attempt(&self, line: &mut Line, waiter: Waiter) -> Tried {
        let Waiter {
            message,
            due,
            origin,
            link,
        } = waiter;
        let offer = Offer {
            origin: origin.group.as_ref(),
            due,
            waiter: Some(&self.me),
        };
        let done = |answer, wakers, left| {
            Tried::Answered(Done {
                answer,
                wakers,
                _left: left,
            })
        };
        if line.route.readers() == 0 {
            return done(Ok(line.route.receipt()), Wakers::default(), Some(message));
        }
        let mut wakers = Wakers::default();
        match line.route.offer(message, offer, &mut wakers) {
            Offered::Done => done(Ok(line.route.receipt()), wakers, None),
            Offered::Not(Obstacle::Full(group), message) => Tried::Blocked(
                Waiter {
                    message,
                    due,
                    origin,
                    link,
                },
                group,
            ),
            Offered::Not(obstacle, message) => {
                let error = obstacle.into_error(&message.topic);
                done(Err(error), Wakers::default(), Some(message))
            }
        }
    }
}

impl Line {
    /// The tickets of what handlers of this group emit.
    fn emitting(&self, group: &Name) -> Vec<u64> {
        if self.emitters == 0 {
            return Vec::new();
        }
        self.waiters
            .iter()
            .filter(|(_, waiting)| waiting.waiter.origin.group.as_ref() == Some(group))
            .map(|(&ticket, _)| ticket)
            .collect()
    }
}

impl Ticket {
    /// Waits for the answer until the deadline.
    pub(crate) async fn answered(mut self, deadline: Duration) -> Answer {
        let answer = match tokio::time::timeout(deadline, &mut self.answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => match self.leave() {
                Some(error) => return Err(error),
                // Served at this very moment: the answer is on its way.
                None => (&mut self.answer).await,
            },
        };
        // Only a panic in between loses an answer; then nobody knows (P1).
        answer.unwrap_or_else(|_| Err(PublishError::unknown(Reason::Timeout)))
    }

    /// Leaves the line; `None` when it was served before.
    fn leave(&self) -> Option<PublishError> {
        let mut line = lock(&self.topic.line);
        let left = self.topic.exit(&mut line, self.number);
        let group = line.blocked_by.clone();
        drop(line);
        left.map(|_| error::full(group.as_deref().unwrap_or_default(), false))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The message is dropped after the lock: its destructor is the user's code.
        let _left = self.topic.exit(&mut lock(&self.topic.line), self.number);
    }
}

#[allow(
    clippy::large_enum_variant,
    reason = "a passing value on a path that waits anyway"
)]
enum Tried {
    Answered(Done),
    Blocked(Waiter, Name),
}

/// What to do once the line is free again.
struct Done {
    answer: Answer,
    wakers: Wakers,
    /// A message that went nowhere: its destructor is the user's code and runs without locks.
    _left: Option<Message>,
}
