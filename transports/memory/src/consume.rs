use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{Batch, Consumer, ErrorKind, Settle, Signal, TransportError};
use tokio::time::Instant;

use crate::group::{Ready, Taken};
use crate::link::Member;

/// A member of a group of a [`Memory`](crate::Memory).
///
/// Dropping it leaves the group at once. What it holds unsettled stays valid: an ack still makes a
/// message final, and what is released or dropped goes back to the group's queue.
pub struct MemoryConsumer {
    member: Arc<Member>,
    window: usize,
    settle: Arc<dyn Settle>,
    /// Empty between calls; its memory is swapped with the queue's.
    taken: Ready,
}

impl MemoryConsumer {
    pub(crate) fn new(member: Arc<Member>, window: usize) -> Self {
        Self {
            settle: Arc::<Member>::clone(&member),
            member,
            window,
            taken: Ready::default(),
        }
    }

    async fn changed(&self, version: u64, due: Option<Instant>) {
        let member = &self.member;
        let changed = poll_fn(|cx| member.group.poll_changed(&member.tally, version, cx));
        match due {
            None => changed.await,
            // Either way the caller looks again.
            Some(due) => drop(tokio::time::timeout_at(due, changed).await),
        }
    }
}

impl Consumer for MemoryConsumer {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        // A consumer with a backlog would otherwise never let its neighbours run.
        tokio::task::coop::consume_budget().await;
        if max == 0 {
            return Ok(Signal::Batch);
        }
        loop {
            let tally = &self.member.tally;
            let room = self.window.saturating_sub(tally.unsettled());
            if room == 0 && !tally.is_gone() {
                tally.below(self.window).await;
                continue;
            }
            match self
                .member
                .group
                .take(tally, max.min(room), &mut self.taken)
            {
                Taken::Some => {
                    self.taken.hand_over(batch, &self.settle);
                    return Ok(Signal::Batch);
                }
                Taken::None { version, due } => self.changed(version, due).await,
                Taken::Closed => return Ok(Signal::Closed),
            }
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), TransportError> {
        self.member.leave();
        let tally = &self.member.tally;
        if tally.unsettled() > 0 {
            // Whether it ended or ran out of time is told by what is still held.
            let _ = tokio::time::timeout(deadline, tally.drained()).await;
        }
        match tally.unsettled() {
            0 => Ok(()),
            held => Err(TransportError::new(
                ErrorKind::Timeout,
                format!(
                    "{held} messages of group {:?} are still unsettled after {deadline:?}: what is released or dropped goes back to its queue",
                    self.member.group.name
                ),
            )),
        }
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.member.leave();
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConsumer")
            .field("group", &self.member.group.name)
            .field("window", &self.window)
            .field("unsettled", &self.member.tally.unsettled())
            .finish_non_exhaustive()
    }
}
