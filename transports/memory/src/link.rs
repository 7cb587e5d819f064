//! One connection to the store: what a [`Memory`](crate::Memory) opened and must end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tidings_transport::{CloseReport, ErrorKind, Mode, Name, TransportError};
use tokio_util::sync::CancellationToken;

use crate::error;
use crate::group::{Group, Tally};
use crate::sync::lock;

/// A connection.
#[derive(Default)]
pub(crate) struct Link {
    closed: AtomicBool,
    members: Mutex<Vec<Arc<Member>>>,
    /// Groups it attached, for its closing report.
    groups: Mutex<BTreeMap<Name, Weak<Group>>>,
}

/// One consumer's place in its group.
pub(crate) struct Member {
    pub(crate) group: Arc<Group>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) revoked: CancellationToken,
}

impl Member {
    /// Takes no more, and says so to the handlers first. Repeatable.
    pub(crate) fn leave(&self) {
        self.revoked.cancel();
        self.group.leave(&self.tally);
    }

    fn is_over(&self) -> bool {
        self.tally.is_gone() && self.tally.unsettled() == 0
    }
}

impl Link {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn attached(&self, group: &Arc<Group>) {
        let mut groups = lock(&self.groups);
        groups.retain(|_, group| group.strong_count() > 0);
        groups.insert(group.name.clone(), Arc::downgrade(group));
    }

    /// Opens a member; the lock orders it before or after a close.
    pub(crate) fn join(
        &self,
        group: &Arc<Group>,
        mode: Mode,
    ) -> Result<Arc<Member>, TransportError> {
        let mut members = lock(&self.members);
        if self.is_closed() {
            return Err(error::closed());
        }
        let tally = group
            .join(mode)
            .ok_or_else(|| error::missing_group(&group.name))?;
        let member = Arc::new(Member {
            group: Arc::clone(group),
            tally,
            revoked: CancellationToken::new(),
        });
        members.retain(|member| !member.is_over());
        members.push(Arc::clone(&member));
        Ok(member)
    }

    /// From now on nothing is published or received through it.
    pub(crate) fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        let members = lock(&self.members).clone();
        members.iter().for_each(|member| member.leave());
    }

    /// Waits until everything handed out is settled, but no longer than the deadline.
    pub(crate) async fn drained(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        let members = lock(&self.members).clone();
        let all_settled = async {
            for member in &members {
                member.tally.drained().await;
            }
        };
        if members.iter().any(|member| !member.is_over()) {
            // Whether it ended or ran out of time is told by what is still held.
            let _ = tokio::time::timeout(deadline, all_settled).await;
        }
        let held: usize = members.iter().map(|member| member.tally.unsettled()).sum();
        let queued: usize = lock(&self.groups)
            .values()
            .filter_map(Weak::upgrade)
            .map(|group| group.lock().queued())
            .sum();
        if held > 0 {
            return Err(TransportError::new(
                ErrorKind::Timeout,
                format!(
                    "{held} messages are still unsettled after {deadline:?}, {queued} are queued"
                ),
            ));
        }
        Ok(CloseReport {
            unflushed: 0,
            unsettled: queued,
        })
    }
}
