use std::sync::Arc;

use tidings_transport::{Inbound, Settle};
use tokio_util::sync::CancellationToken;

use crate::link::Member;

/// Settles the messages of one member whose positions share their upper 32 bits: so one handle
/// serves four thousand million messages in a row, and an index says exactly which it is.
pub(crate) struct Handle {
    epoch: u64,
    member: Arc<Member>,
}

impl Handle {
    pub(crate) fn new(position: u64, member: Arc<Member>) -> Self {
        Self {
            epoch: position >> 32,
            member,
        }
    }

    /// The index of a position, if this handle settles it.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the upper bits are the epoch"
    )]
    pub(crate) fn index(&self, position: u64) -> Option<u32> {
        (position >> 32 == self.epoch).then_some(position as u32)
    }

    #[inline]
    fn position(&self, index: u32) -> u64 {
        self.epoch << 32 | u64::from(index)
    }
}

impl Settle for Handle {
    #[inline]
    fn ack(&self, index: u32) {
        self.member
            .group
            .finish(&self.member.tally, self.position(index));
    }

    fn release(&self, index: u32, message: Inbound) {
        self.member
            .group
            .put_back(&self.member.tally, self.position(index), message);
    }

    fn revoked(&self) -> &CancellationToken {
        &self.member.revoked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidings_transport::{Mode, Name};

    use super::Handle;
    use crate::group::Group;
    use crate::link::Link;

    #[test]
    fn positions_of_another_epoch_need_another_handle() {
        let group = Group::new(0, Name::from_static("g"), true, 1, 1, Arc::default());
        let member = Link::default()
            .join(&Arc::new(group), Mode::AtLeastOnce)
            .expect("open");
        let handle = Handle::new(u64::from(u32::MAX), Arc::clone(&member));
        assert_eq!(handle.index(7), Some(7));
        assert_eq!(handle.index(u64::from(u32::MAX)), Some(u32::MAX));
        assert_eq!(handle.index(1 << 32), None);
        assert_eq!(Handle::new(5 << 32, member).index(5 << 32 | 9), Some(9));
    }
}
