use std::fmt;

use once_cell::race::OnceBox;
use tidings_transport::{EventId, Groups, Name, Position, Timestamp};

use super::context;

/// What a successful emit achieved; what Ok means on which transport is contract P2.
///
/// It takes one word. Of an emit that only listeners hear nothing is written and, when it is dropped
/// unread, nothing read: that would be a good part of what such an emit costs.
#[derive(Clone, Default)]
pub struct Receipt(OnceBox<Known>);

#[derive(Clone)]
struct Known {
    id: EventId,
    groups: Groups,
    position: Option<Position>,
}

impl Receipt {
    #[inline]
    pub(crate) fn published(id: EventId, receipt: tidings_transport::Receipt) -> Self {
        Self(OnceBox::with_value(Box::new(Known {
            id,
            groups: receipt.groups,
            position: receipt.position,
        })))
    }

    /// Nobody but listeners got it.
    pub(crate) fn local(id: EventId) -> Self {
        Self::published(id, tidings_transport::Receipt::default())
    }

    /// Nobody but listeners got it, and none of them asked for its id, which is made when somebody
    /// asks.
    #[inline(always)]
    pub(crate) const fn heard() -> Self {
        Self(OnceBox::new())
    }

    /// Nobody but listeners got it, and one of them asked for its id.
    #[cold]
    pub(crate) fn asked() -> Self {
        context::made().map_or_else(Self::heard, Self::local)
    }

    /// The event's id.
    pub fn id(&self) -> &EventId {
        let made = || {
            Box::new(Known {
                id: EventId::fresh(Timestamp::now()),
                groups: Groups::Unknown,
                position: None,
            })
        };
        &self.0.get_or_init(made).id
    }

    /// In memory, the groups whose queues hold the event now, by their names on the wire; empty
    /// where no group handles it. On a broker it is empty too: see
    /// [`position`](Self::position).
    #[must_use]
    pub fn groups(&self) -> &[Name] {
        let known = self.0.get().and_then(|known| known.groups.names());
        known.unwrap_or(&[])
    }

    /// Where the broker put it, on a broker with positions.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.get()?.position
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
