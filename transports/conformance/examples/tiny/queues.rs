//! What all handles share: the queues of the groups, and the dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_transport::{
    Carried, ErrorKind, GroupTopology, Inbound, Name, Origin, Origination, Payload, PublishError,
    Reason, Receipt, Topics, TransportError, Wire,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const QUEUE: usize = 1_024;
const DEAD_LETTERS: usize = 10_000;

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Rung after every change that somebody may wait for.
    pub(crate) changed: Notify,
    pub(crate) closing: CancellationToken,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) groups: BTreeMap<Name, Queue>,
    /// Dead letters by topic, then by arrival number.
    pub(crate) kept: BTreeMap<Name, BTreeMap<u64, Inbound>>,
    arrived: u64,
}

pub(crate) struct Queue {
    pub(crate) topics: Topics,
    capacity: usize,
    /// By arrival number, so that what is given back returns to its old place.
    pub(crate) ready: BTreeMap<u64, Inbound>,
    /// Handed out and not settled.
    pub(crate) held: usize,
    /// Ever published to the group, and how much of it is final.
    pub(crate) end: u64,
    pub(crate) settled: u64,
}

impl Queue {
    pub(crate) fn is_over(&self) -> bool {
        self.topics == Topics::default() && self.ready.is_empty() && self.held == 0
    }
}

impl Shared {
    /// Never held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a look gives an answer. Cancel safe: a look takes all or nothing.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Enlisted before the look, so that no change in between is missed.
            changed.as_mut().enable();
            if let Some(answer) = look() {
                return answer;
            }
            changed.await;
        }
    }

    pub(crate) fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        self.open()?;
        let mut state = self.state();
        if let Some(topic) = &group.dead_letters {
            state.kept.entry(topic.clone()).or_default();
        }
        let queue = state
            .groups
            .entry(group.name.clone())
            .or_insert_with(|| Queue {
                topics: Topics::default(),
                capacity: group.queue.unwrap_or(QUEUE),
                ready: BTreeMap::new(),
                held: 0,
                end: 0,
                settled: 0,
            });
        for topic in &group.topics.exact {
            if !queue.topics.exact.contains(topic) {
                queue.topics.exact.push(topic.clone());
            }
        }
        for pattern in &group.topics.patterns {
            if !queue.topics.patterns.contains(pattern) {
                queue.topics.patterns.push(pattern.clone());
            }
        }
        Ok(())
    }

    pub(crate) fn open(&self) -> Result<(), TransportError> {
        if self.closing.is_cancelled() {
            return Err(error(ErrorKind::Closed, "the transport is closed"));
        }
        Ok(())
    }

    /// A place in every group's queue or in none; `None` while one of them is full.
    pub(crate) fn offer(
        &self,
        wire: &Wire,
        origin: &Origin,
    ) -> Option<Result<Receipt, PublishError>> {
        let mut state = self.state();
        let State {
            groups,
            kept,
            arrived,
        } = &mut *state;
        if self.closing.is_cancelled() {
            return Some(Err(PublishError::not_published(Reason::Closed)));
        }
        let readers = || {
            groups
                .iter()
                .filter(|(_, queue)| queue.topics.contains(&wire.topic))
        };
        let full_ones = || readers().filter(|(_, queue)| queue.ready.len() >= queue.capacity);
        if full_ones().any(|(name, _)| Some(name) == origin.group.as_ref()) {
            // Its handler emits: waiting here would be waiting for itself.
            return Some(Err(full(&wire.topic, true)));
        }
        if full_ones().next().is_some() {
            return None;
        }
        let names: Arc<[Name]> = readers().map(|(name, _)| name.clone()).collect();
        *arrived += 1;
        if let Some(kept) = kept.get_mut(&wire.topic) {
            if kept.len() >= DEAD_LETTERS {
                // Nobody drains it but a person, so waiting would not help.
                return Some(Err(full(&wire.topic, false)));
            }
            kept.insert(*arrived, inbound(wire));
        }
        for name in names.iter() {
            if let Some(queue) = groups.get_mut(name) {
                queue.ready.insert(*arrived, inbound(wire));
                queue.end += 1;
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Some(Ok(Receipt {
            groups: names.iter().cloned().collect(),
            position: None,
        }))
    }
}

fn inbound(wire: &Wire) -> Inbound {
    Inbound {
        topic: wire.topic.clone(),
        key: wire.key.clone(),
        envelope: Carried::Raw(wire.fields.clone()),
        headers: wire.headers.clone(),
        payload: wire.body.clone().map_or(Payload::Tombstone, Payload::Bytes),
        origination: Origination::default(),
    }
}

pub(crate) fn full(what: &Name, own_queue: bool) -> PublishError {
    PublishError::not_published(Reason::Full {
        group: what.to_string(),
        own_queue,
    })
}

pub(crate) fn error(kind: ErrorKind, text: impl Into<String>) -> TransportError {
    TransportError::new(kind, text)
}
