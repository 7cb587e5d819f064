use tidings_transport::{Inbound, Settle};
use tokio_util::sync::CancellationToken;

use crate::link::Member;

/// The index of a message is its position in the order of its group.
impl Settle for Member {
    #[inline]
    fn ack(&self, position: u64) {
        self.group.finish_all(&self.tally, &[position]);
    }

    fn ack_all(&self, positions: &[u64]) {
        self.group.finish_all(&self.tally, positions);
    }

    fn release(&self, position: u64, message: Inbound) {
        self.group.put_back(&self.tally, position, message);
    }

    fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}
