use std::fmt;
use std::sync::{Arc, OnceLock};

use tidings_transport::{EventId, Name, Position, Timestamp};

use super::context;

/// What a successful emit achieved; what Ok means on which transport is contract P2.
#[derive(Clone, Default)]
pub struct Receipt(Repr);

// Two words of the usual receipt are written, and none is read when it is dropped unread: that is
// a good part of what an emit to listeners costs.
#[derive(Clone)]
enum Repr {
    /// Nobody but listeners got it; its id is made when somebody asks.
    Heard(OnceLock<Box<EventId>>),
    Known(Known),
}

#[derive(Clone)]
struct Known {
    id: EventId,
    groups: Option<Arc<[Name]>>,
    // A position in its parts, because receipts are moved about and this is a third smaller.
    partition: Option<i32>,
    offset: i64,
}

impl Default for Repr {
    #[inline]
    fn default() -> Self {
        Self::Heard(OnceLock::new())
    }
}

impl Receipt {
    #[inline]
    pub(crate) fn published(id: EventId, receipt: tidings_transport::Receipt) -> Self {
        Self(Repr::Known(Known {
            id,
            groups: receipt.groups,
            partition: receipt.position.map(|position| position.partition),
            offset: receipt.position.map_or(0, |position| position.offset),
        }))
    }

    /// Nobody but listeners got it.
    pub(crate) fn local(id: EventId) -> Self {
        Self::published(id, tidings_transport::Receipt::default())
    }

    /// Nobody but listeners got it, and none of them asked for its id, which is made when somebody
    /// asks.
    #[inline(always)]
    pub(crate) fn heard() -> Self {
        Self(Repr::Heard(OnceLock::new()))
    }

    /// Nobody but listeners got it, and one of them asked for its id.
    #[cold]
    pub(crate) fn asked() -> Self {
        context::made().map_or_else(Self::heard, Self::local)
    }

    /// The event's id.
    pub fn id(&self) -> &EventId {
        match &self.0 {
            Repr::Known(known) => &known.id,
            Repr::Heard(id) => id.get_or_init(|| Box::new(EventId::fresh(Timestamp::now()))),
        }
    }

    /// In memory, the groups whose queues hold the event now, by their names on the wire; empty
    /// where no group handles it. On a broker it is empty too: see
    /// [`position`](Self::position).
    #[must_use]
    pub fn groups(&self) -> &[Name] {
        self.known()
            .and_then(|known| known.groups.as_deref())
            .unwrap_or(&[])
    }

    /// Where the broker put it, on a broker with positions.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let known = self.known()?;
        Some(Position {
            partition: known.partition?,
            offset: known.offset,
        })
    }

    fn known(&self) -> Option<&Known> {
        match &self.0 {
            Repr::Known(known) => Some(known),
            Repr::Heard(_) => None,
        }
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
