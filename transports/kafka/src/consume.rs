//! A member of a group, as the bus sees it: what its thread took in, and the word to end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tidings_transport::{Batch, Consumer, Name, Revoked, Signal, Subscribe, TransportError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error;
use crate::settle::{Bell, Partition};
use crate::statistics::Statistics;

/// A member of a consumer group. Its thread polls whatever handlers do, so that they never hold up
/// heartbeats (M2); dropping it commits what is final and leaves the group, in the background.
#[derive(Debug)]
pub struct KafkaConsumer {
    pub(crate) member: Arc<Member>,
    // Where the next batch begins, so that no partition starves another.
    turn: usize,
}

/// What the thread of a member and its receiver share.
pub(crate) struct Member {
    pub(crate) subscribe: Subscribe,
    pub(crate) bell: Arc<Bell>,
    state: Mutex<State>,
    orders: mpsc::Sender<Leave>,
}

#[derive(Default)]
struct State {
    partitions: Vec<Arc<Partition>>,
    // Grows with each change of the partitions.
    version: u64,
    signals: VecDeque<Signal>,
    // `Ok` is the end that was asked for.
    ended: Option<Result<(), TransportError>>,
    // A replay came to its end.
    replayed: bool,
    // Everything is over, and the client gone.
    gone: bool,
}

/// What the thread is told: commit, leave, end.
pub(crate) struct Leave {
    pub(crate) committed: oneshot::Sender<Result<(), TransportError>>,
    pub(crate) left: oneshot::Sender<()>,
}

type Committed = oneshot::Receiver<Result<(), TransportError>>;

impl Member {
    pub(crate) fn new(subscribe: Subscribe) -> (Arc<Self>, mpsc::Receiver<Leave>) {
        let (orders, told) = mpsc::channel();
        let member = Arc::new(Self {
            subscribe,
            bell: Arc::default(),
            state: Mutex::default(),
            orders,
        });
        (member, told)
    }

    pub(crate) fn partitions(&self) -> (u64, Vec<Arc<Partition>>) {
        let state = self.state();
        (state.version, state.partitions.clone())
    }

    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    pub(crate) fn assign(&self, partition: Arc<Partition>) {
        let mut state = self.state();
        state.partitions.push(partition);
        state.version += 1;
    }

    /// Ends the assignment of a partition, and says so to the receiver.
    pub(crate) fn revoke(&self, partition: &Arc<Partition>) {
        let unsettled = partition.end();
        let mut state = self.state();
        state.partitions.retain(|it| !Arc::ptr_eq(it, partition));
        state.version += 1;
        state.signals.push_back(Signal::Revoked(Revoked {
            topic: partition.topic.clone(),
            partition: Some(partition.number),
            unsettled,
        }));
        drop(state);
        self.bell.ready.notify_one();
    }

    /// Nothing more is handed over. The first reason counts.
    pub(crate) fn end(&self, why: Result<(), TransportError>) {
        self.state().ended.get_or_insert(why);
        self.bell.ready.notify_one();
    }

    /// All that there was to replay is settled; said once.
    pub(crate) fn replayed(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.replayed, true) {
            state.signals.push_back(Signal::End);
            drop(state);
            self.bell.ready.notify_one();
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// The thread has ended.
    pub(crate) fn gone(&self) {
        self.state().gone = true;
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state().gone
    }

    pub(crate) fn unsettled(&self) -> usize {
        let partitions = self.partitions().1;
        partitions.iter().map(|it| it.unsettled()).sum()
    }

    /// Says how far the group is behind in what this member holds, as far as its client knows: for
    /// who measures. `lag` of the transport asks the broker.
    pub(crate) fn say_lag(&self, statistics: &Statistics) {
        for partition in self.partitions().1 {
            let (end, committed) = statistics.offsets(&partition.topic, partition.number);
            let (Some(end), Some(settled)) = (end, partition.mark().or(committed)) else {
                continue;
            };
            // What was just polled may be behind the end of the last fetch.
            let lag = u64::try_from(end - settled).unwrap_or_default();
            tracing::debug!(
                target: "tidings_kafka::lag",
                group = %self.subscribe.group,
                topic = %partition.topic,
                partition = partition.number,
                end,
                settled,
                gauge.tidings.lag = lag,
                "how far the group is behind here"
            );
        }
    }

    /// Waits until nothing is out.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.bell.idle.notified();
            tokio::pin!(settled);
            // From here on, before the look.
            settled.as_mut().enable();
            if self.unsettled() == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Commits what is final and leaves the group.
    pub(crate) async fn leave(&self, deadline: Duration) -> Result<(), TransportError> {
        let until = Instant::now() + deadline;
        let Some((committed, left)) = self.tell() else {
            return Ok(());
        };
        match tokio::time::timeout_at(until, committed).await {
            Ok(Ok(committed)) => committed?,
            // It had ended before.
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                return Err(error::timeout(format!(
                    "the member of group {:?} did not commit within {deadline:?}: {} messages are \
                     unsettled and come again, and what was final since the last commit may",
                    self.subscribe.group.as_str(),
                    self.unsettled()
                )));
            }
        }
        // Nothing is lost by a group that learns of it a little later.
        if tokio::time::timeout_at(until, left).await.is_err() {
            tracing::debug!(group = %self.subscribe.group, "still leaving the group");
        }
        Ok(())
    }

    /// Tells the thread to end; `None` if it has.
    fn tell(&self) -> Option<(Committed, oneshot::Receiver<()>)> {
        self.end(Ok(()));
        let (committed, hears_commit) = oneshot::channel();
        let (left, hears_end) = oneshot::channel();
        let order = Leave { committed, left };
        self.orders.send(order).ok()?;
        Some((hears_commit, hears_end))
    }

    /// One step of `receive`; `None` when there is nothing to report yet.
    fn step(
        &self,
        turn: &mut usize,
        max: usize,
        batch: &mut Batch,
    ) -> Option<Result<Signal, TransportError>> {
        let mut state = self.state();
        if let Some(signal) = state.signals.pop_front() {
            return Some(Ok(signal));
        }
        if let Some(ended) = &mut state.ended {
            let why = std::mem::replace(ended, Ok(()));
            return Some(why.map(|()| Signal::Closed));
        }
        let count = state.partitions.len();
        for at in 0..count {
            let partition = &state.partitions[(*turn + at) % count];
            partition.hand_over(max - batch.len(), batch);
            // What is settled with one partition is settled at once: so not much of another.
            if batch.len() >= max.div_ceil(4) {
                break;
            }
        }
        *turn = turn.wrapping_add(1);
        self.bell.wanted.store(batch.is_empty(), Ordering::Release);
        (!batch.is_empty()).then_some(Ok(Signal::Batch))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("group", &self.subscribe.group)
            .finish_non_exhaustive()
    }
}

impl KafkaConsumer {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Self { member, turn: 0 }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &Name {
        &self.member.subscribe.group
    }
}

impl Consumer for KafkaConsumer {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        if max == 0 {
            return Err(error::config(
                "a batch of at most 0 messages: ask for 1 or more",
            ));
        }
        loop {
            if let Some(reported) = self.member.step(&mut self.turn, max, batch) {
                return reported;
            }
            // What was rung between the step and here is kept.
            self.member.bell.ready.notified().await;
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), TransportError> {
        self.member.leave(deadline).await
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // Fails only if the thread has ended.
        drop(self.member.tell());
    }
}
