use std::fmt;

use bytes::Bytes;
use tidings_transport::{EventId, Name, Timestamp};

use crate::Event;
use crate::pipeline::Verdict;

/// What became of one event in one handler: see [`TestBus::handled`](super::TestBus::handled).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// The event's declared name, as it came; empty where it had none that could be read.
    pub event: Name,
    /// The event's id, as it came; empty where it had none that could be read.
    pub id: EventId,
    /// The topic it came from.
    pub topic: Name,
    /// What it was ordered by.
    pub key: Option<Bytes>,
    /// The group, by its name on the wire.
    pub group: Name,
    /// The handler; empty where none was reached.
    pub handler: Name,
    /// How often the handler was called for this delivery, rate-limited calls and probes of a
    /// paused group included; 0 for a duplicate and for an event that could not be decoded.
    pub attempts: u32,
    /// How it ended.
    pub fate: Fate,
    /// When, by the bus's clock.
    pub at: Timestamp,
}

impl Handled {
    /// Whether it is about an event of this type.
    #[must_use]
    pub fn is<E: Event>(&self) -> bool {
        self.event == E::NAME
    }
}

/// How a handler's share of a delivery ended, in [`Handled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// Handled.
    Completed,
    /// Suppressed: it was handled before.
    Duplicate,
    /// Given up. It is in the group's dead letters, unless the group keeps none.
    DeadLettered,
    /// Passed over by this rule: `tombstone`, `another type on a shared topic`,
    /// `handler removed`, …
    Skipped(&'static str),
    /// Not final: put aside in `<group>.retry`, from where it comes back.
    PutAside,
    /// Not final: given back to the transport, as when the bus shuts down.
    HandedBack,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.pad("completed"),
            Self::Duplicate => f.pad("duplicate"),
            Self::DeadLettered => f.pad("dead-lettered"),
            Self::Skipped(rule) => write!(f, "skipped: {rule}"),
            Self::PutAside => f.pad("put aside"),
            Self::HandedBack => f.pad("handed back"),
        }
    }
}

impl From<Verdict> for Fate {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Completed => Self::Completed,
            Verdict::Duplicate => Self::Duplicate,
            Verdict::DeadLettered => Self::DeadLettered,
            Verdict::Skipped => Self::Skipped("handler removed"),
            Verdict::PutAside => Self::PutAside,
            Verdict::HandedBack => Self::HandedBack,
        }
    }
}
