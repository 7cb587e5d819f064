use std::fmt;
use std::sync::{Arc, OnceLock};

use tidings_transport::{EventId, Name, Position, Timestamp};

use super::context;

/// What a successful emit achieved; what Ok means on which transport is contract P2.
#[derive(Clone, Default)]
pub struct Receipt {
    id: Id,
    groups: Option<Arc<[Name]>>,
    // A position in its parts, because receipts are moved about and this is a third smaller.
    partition: Option<i32>,
    offset: i64,
}

#[derive(Clone)]
enum Id {
    Known(EventId),
    /// Made when somebody asks.
    Lazy(OnceLock<Box<EventId>>),
}

impl Default for Id {
    #[inline]
    fn default() -> Self {
        Self::Lazy(OnceLock::new())
    }
}

impl Receipt {
    pub(crate) fn published(id: EventId, receipt: tidings_transport::Receipt) -> Self {
        Self {
            id: Id::Known(id),
            groups: receipt.groups,
            partition: receipt.position.map(|position| position.partition),
            offset: receipt.position.map_or(0, |position| position.offset),
        }
    }

    /// Nobody but listeners got it.
    pub(crate) fn local(id: EventId) -> Self {
        Self {
            id: Id::Known(id),
            groups: None,
            partition: None,
            offset: 0,
        }
    }

    /// Nobody but listeners got it, and none of them asked for its id, which is made when somebody
    /// asks.
    #[inline(always)]
    pub(crate) fn heard() -> Self {
        Self {
            id: Id::Lazy(OnceLock::new()),
            groups: None,
            partition: None,
            offset: 0,
        }
    }

    /// Nobody but listeners got it, and one of them asked for its id.
    #[cold]
    pub(crate) fn asked() -> Self {
        context::made().map_or_else(Self::heard, Self::local)
    }

    /// The event's id.
    pub fn id(&self) -> &EventId {
        match &self.id {
            Id::Known(id) => id,
            Id::Lazy(id) => id.get_or_init(|| Box::new(EventId::fresh(Timestamp::now()))),
        }
    }

    /// In memory, the groups whose queues hold the event now, by their names on the wire; empty
    /// where no group handles it. On a broker it is empty too: see
    /// [`position`](Self::position).
    #[must_use]
    pub fn groups(&self) -> &[Name] {
        self.groups.as_deref().unwrap_or(&[])
    }

    /// Where the broker put it, on a broker with positions.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let partition = self.partition?;
        Some(Position {
            partition,
            offset: self.offset,
        })
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("id", self.id())
            .field("groups", &self.groups())
            .field("position", &self.position())
            .finish()
    }
}
