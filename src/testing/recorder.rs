use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidings_transport::{Carried, EventId, Message, Name};

use super::handled::{Fate, Handled};
use super::log::Log;
use super::published::{About, Published};
use crate::Event;
use crate::bus::GroupCore;
use crate::pipeline::{Delivered, Verdict};

/// Takes note of what a bus publishes and handles, for its test.
#[derive(Clone)]
pub(crate) struct Recorder(Option<Arc<Logs>>);

struct Logs {
    next: AtomicU64,
    published: Log<Record>,
    handled: Log<Handled>,
}

/// A published event of any type.
struct Record {
    event: Arc<dyn Any + Send + Sync>,
    about: Arc<About>,
}

impl Recorder {
    /// Takes note of nothing, at the cost of a look at an option.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// Keeps up to `bound` published and as many handled events.
    pub(super) fn new(bound: usize) -> Self {
        Self(Some(Arc::new(Logs {
            next: AtomicU64::new(0),
            published: Log::new("published", bound),
            handled: Log::new("handled", bound),
        })))
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// An event is about to be published; its place among the others is fixed here, so that what a
    /// handler emits comes behind what it handled, whoever is told first.
    #[inline]
    pub(crate) fn begin(&self, message: &Message) -> Recording {
        Recording(self.0.as_ref().and_then(|logs| Pending::new(logs, message)))
    }

    /// A handler's share of a delivery ended; without a handler, the delivery could not be read.
    #[inline]
    pub(crate) fn handled(
        &self,
        group: &GroupCore,
        handler: Option<&Name>,
        delivered: Delivered<'_>,
        attempts: u32,
        verdict: Verdict,
    ) {
        if let Some(logs) = &self.0 {
            logs.handled(group, handler, delivered, attempts, verdict.into());
        }
    }

    /// A delivery was skipped by a named rule.
    #[inline]
    pub(crate) fn skipped(&self, group: &GroupCore, delivered: Delivered<'_>, rule: &'static str) {
        if let Some(logs) = &self.0 {
            logs.handled(group, None, delivered, 0, Fate::Skipped(rule));
        }
    }

    pub(super) fn published<E: Event>(&self) -> Vec<Published<E>> {
        self.0
            .iter()
            .flat_map(|logs| logs.published.read(Record::of::<E>))
            .collect()
    }

    pub(super) fn all_handled(&self) -> Vec<Handled> {
        self.0
            .iter()
            .flat_map(|logs| logs.handled.read(|handled| Some(handled.clone())))
            .collect()
    }

    pub(super) fn forget(&self) {
        if let Some(logs) = &self.0 {
            logs.published.clear();
            logs.handled.clear();
        }
    }
}

impl Record {
    fn of<E: Event>(&self) -> Option<Published<E>> {
        let event = Arc::clone(&self.event).downcast::<E>().ok()?;
        Some(Published::new(event, Arc::clone(&self.about)))
    }
}

impl Logs {
    fn turn(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn handled(
        &self,
        group: &GroupCore,
        handler: Option<&Name>,
        delivered: Delivered<'_>,
        attempts: u32,
        fate: Fate,
    ) {
        let message = delivered.message();
        let entry = Handled {
            event: Name::from(delivered.envelope_name()),
            id: EventId::from(delivered.envelope_id()),
            topic: message.topic.clone(),
            key: message.key.clone(),
            group: group.name.clone(),
            handler: handler.cloned().unwrap_or(Name::from_static("")),
            attempts,
            fate,
            at: group.bus.clock.now(),
        };
        self.handled.push(self.turn(), entry);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("on", &self.is_on())
            .finish_non_exhaustive()
    }
}

/// A publish that may still fail.
pub(crate) struct Recording(Option<Box<Pending>>);

struct Pending {
    logs: Arc<Logs>,
    turn: u64,
    message: Mutex<Sent>,
}

struct Sent {
    about: About,
    reached: bool,
}

impl Pending {
    fn new(logs: &Arc<Logs>, message: &Message) -> Option<Box<Self>> {
        let envelope = message.envelope.local()?.clone();
        let mut about = About::new(envelope);
        about.update(message);
        let sent = Sent {
            about,
            reached: false,
        };
        Some(Box::new(Self {
            logs: Arc::clone(logs),
            turn: logs.turn(),
            message: Mutex::new(sent),
        }))
    }
}

impl Recording {
    /// The message is handed to the transport now, as the middleware left it.
    #[inline]
    pub(crate) fn reached(&self, message: &Message) {
        if let Some(pending) = &self.0 {
            let mut sent = pending
                .message
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            sent.reached = true;
            sent.about.update(message);
            if let Carried::Local(envelope) = &message.envelope {
                sent.about.envelope = envelope.clone();
            }
        }
    }

    /// The publish is Ok. A middleware that answered in the transport's place published nothing.
    #[inline]
    pub(crate) fn published<E: Event>(self, event: &Arc<E>) {
        if let Some(pending) = self.0 {
            let Pending {
                logs,
                turn,
                message,
            } = *pending;
            let sent = message.into_inner().unwrap_or_else(PoisonError::into_inner);
            if sent.reached {
                let event: Arc<dyn Any + Send + Sync> = Arc::<E>::clone(event);
                logs.published.push(
                    turn,
                    Record {
                        event,
                        about: Arc::new(sent.about),
                    },
                );
            }
        }
    }
}
