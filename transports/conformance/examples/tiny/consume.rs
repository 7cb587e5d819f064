//! A member of a group, how its messages are settled, and the reader of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings_transport::{
    Batch, Browser, Consumer, Entry, ErrorKind, Inbound, Name, Received, Settle, Signal, Subscribe,
    TransportError,
};
use tokio_util::sync::CancellationToken;

use super::queues::{Shared, error};

/// A member of a group.
pub(crate) struct TinyConsumer {
    shared: Arc<Shared>,
    group: Name,
    window: usize,
    /// How many messages this member holds.
    held: Arc<AtomicUsize>,
    revoked: CancellationToken,
}

impl TinyConsumer {
    pub(crate) fn new(shared: Arc<Shared>, subscribe: Subscribe) -> Self {
        Self {
            revoked: shared.closing.child_token(),
            shared,
            group: subscribe.group,
            window: subscribe.window,
            held: Arc::default(),
        }
    }

    /// Messages and their numbers; `None` while there are none, `Some(None)` when none will come.
    fn take(&self, max: usize) -> Option<Option<Vec<(u64, Inbound)>>> {
        let mut state = self.shared.state();
        let Some(queue) = state.groups.get_mut(&self.group) else {
            return Some(None);
        };
        if self.revoked.is_cancelled() {
            return Some(None);
        }
        let room = self
            .window
            .saturating_sub(self.held.load(Ordering::SeqCst))
            .min(max);
        let taken: Vec<_> = std::iter::from_fn(|| queue.ready.pop_first())
            .take(room)
            .collect();
        if taken.is_empty() {
            let over = queue.is_over();
            if over {
                state.groups.remove(&self.group);
            }
            return over.then_some(None);
        }
        self.held.fetch_add(taken.len(), Ordering::SeqCst);
        queue.held += taken.len();
        Some(Some(taken))
    }
}

impl Consumer for TinyConsumer {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        let Some(taken) = self.shared.until(|| self.take(max)).await else {
            return Ok(Signal::Closed);
        };
        // There is room for publishers now.
        self.shared.changed.notify_waiters();
        let (numbers, messages): (Vec<u64>, Vec<Inbound>) = taken.into_iter().unzip();
        let settle: Arc<dyn Settle> = Arc::new(Taken {
            shared: Arc::clone(&self.shared),
            group: self.group.clone(),
            numbers,
            held: Arc::clone(&self.held),
            revoked: self.revoked.clone(),
        });
        for (index, message) in (0..).zip(messages) {
            batch.push(Received::new(message, Arc::clone(&settle), index));
        }
        Ok(Signal::Batch)
    }

    async fn close(self, deadline: Duration) -> Result<(), TransportError> {
        self.revoked.cancel();
        let mine = || self.held.load(Ordering::SeqCst);
        let settled = self.shared.until(|| (mine() == 0).then_some(()));
        tokio::time::timeout(deadline, settled).await.map_err(|_| {
            let text = format!("{} messages are unsettled after {deadline:?}", mine());
            error(ErrorKind::Timeout, text)
        })
    }
}

impl Drop for TinyConsumer {
    fn drop(&mut self) {
        self.revoked.cancel();
    }
}

/// Settles the messages of one batch.
struct Taken {
    shared: Arc<Shared>,
    group: Name,
    numbers: Vec<u64>,
    held: Arc<AtomicUsize>,
    revoked: CancellationToken,
}

impl Taken {
    fn settled(&self, back: Option<(u64, Inbound)>) {
        if let Some(queue) = self.shared.state().groups.get_mut(&self.group) {
            queue.held -= 1;
            match back {
                Some((index, message)) => {
                    queue.ready.insert(self.numbers[index as usize], message);
                }
                None => queue.settled += 1,
            }
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }
}

impl Settle for Taken {
    fn ack(&self, _index: u64) {
        self.settled(None);
    }

    fn release(&self, index: u64, message: Inbound) {
        self.settled(Some((index, message)));
    }

    fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}

/// Reads dead letters, oldest first.
pub(crate) struct TinyBrowser {
    shared: Arc<Shared>,
    topic: Name,
    after: u64,
}

impl TinyBrowser {
    pub(crate) fn new(shared: Arc<Shared>, topic: Name) -> Self {
        Self {
            shared,
            topic,
            after: 0,
        }
    }
}

impl Browser for TinyBrowser {
    async fn next(&mut self) -> Result<Option<Entry>, TransportError> {
        let state = self.shared.state();
        let entry = state
            .kept
            .get(&self.topic)
            .and_then(|kept| kept.range(self.after + 1..).next());
        Ok(entry.map(|(&token, message)| {
            self.after = token;
            Entry {
                token,
                message: message.clone(),
            }
        }))
    }

    async fn remove(&mut self, entry: &Entry) -> Result<(), TransportError> {
        if let Some(kept) = self.shared.state().kept.get_mut(&self.topic) {
            kept.remove(&entry.token);
        }
        Ok(())
    }
}
