use std::{collections::VecDeque, fmt, future::Future, ops::Deref, ptr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{Carried, Headers, Name, Payload, Timestamp, error::Result};

/// One member of a group, pulled by the bus.
pub trait Consumer: Send + 'static {
    /// Waits until there is something to report and appends at most `max` messages to `batch`.
    /// # Contract
    /// - At most [`Subscribe::window`](crate::Subscribe::window) messages are unsettled at once;
    ///   beyond that this waits while the transport goes on polling (O2).
    /// - A message that was released, or dropped unsettled, comes again from memory, before newer
    ///   ones of its key.
    /// - What the consumer lost is reported as [`Signal::Revoked`], never in silence. It ends with
    ///   [`Signal::Closed`] or an error, never by hanging.
    /// # Errors
    /// The consumer is finished; after a retryable error a new one may be opened.
    /// # Cancel safety
    /// Dropping the future loses nothing: what was not appended comes with the next call.
    fn receive(
        &mut self,
        max: usize,
        batch: &mut Batch,
    ) -> impl Future<Output = Result<Signal>> + Send;

    /// Commits what is final, gives back the rest and leaves the group.
    /// # Errors
    /// What could not be committed will be delivered again.
    fn close(self, deadline: Duration) -> impl Future<Output = Result<()>> + Send;
}

/// What [`Consumer::receive`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Messages were appended.
    Batch,
    /// Somebody else has these now; their tokens have fired and settling them has no effect.
    Revoked(Revoked),
    /// The consumer ended because the transport was closed.
    Closed,
    /// A replay has reached its end, and all that it handed over is settled.
    End,
}

/// What a consumer lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The topic.
    pub topic: Name,
    /// The partition, where there are any.
    pub partition: Option<i32>,
    /// How many unsettled messages went with it.
    pub unsettled: usize,
}

/// Where a broker keeps a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The partition; 0 where there are none.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A delivered message.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The topic it was published to.
    pub topic: Name,
    /// What it is ordered by.
    pub key: Option<Bytes>,
    /// The envelope, typed where it never left this process.
    pub envelope: Carried,
    /// All other headers, unchanged.
    pub headers: Headers,
    /// The data.
    pub payload: Payload,
    /// How and when it got here.
    pub origination: Origination,
}

/// How a message got here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origination {
    /// Which delivery of this message to its group it is, from 1; 0 where nobody counts.
    pub attempt: u32,
    /// Where the broker keeps it.
    pub position: Option<Position>,
    /// The broker's time of the publish.
    pub published: Option<Timestamp>,
}

/// Settles the messages of one batch: for transports; the bus only sees [`Received`].
pub trait Settle: Send + Sync + 'static {
    /// The message reached its final state (D2). Never blocks; the transport commits in its own
    /// rhythm. Called at most once per index. A late call has no effect and is counted (D4, D5).
    fn ack(&self, index: u64);

    /// Several at once, in the order in which they ended.
    fn ack_all(&self, indexes: &[u64]) {
        indexes.iter().for_each(|index| self.ack(*index));
    }

    /// The message is given back unchanged and will come again. As [`ack`](Self::ack) otherwise.
    fn release(&self, index: u64, message: Inbound);

    /// Fires when the assignment of these messages is lost, before the transport waits for them.
    fn revoked(&self) -> &CancellationToken;
}

/// A delivered message that must be settled, once, by value; dropping it gives it back.
pub struct Received {
    message: Option<Inbound>,
    // `None` once it is settled, and where its queue or batch knows it.
    settle: Option<Arc<dyn Settle>>,
    index: u64,
}

/// What a consumer hands over at once. Dropping it gives back what is left.
#[derive(Default)]
pub struct Batch {
    messages: Vec<Received>,
    // Of the messages that have none of their own.
    settle: Option<Arc<dyn Settle>>,
    acked: Vec<u64>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.messages).finish()
    }
}

/// How many acks are put together, so that a handler that takes its time does not keep back many.
const MOST_ACKED: usize = 32;

impl Batch {
    /// Adds a message behind the others: for transports. Those with one and the same [`Settle`] are
    /// acked together.
    pub fn push(&mut self, mut received: Received) {
        match (&self.settle, &received.settle) {
            (None, Some(_)) => self.settle = received.settle.take(),
            (Some(this), Some(its)) if ptr::addr_eq(Arc::as_ptr(this), Arc::as_ptr(its)) => {
                received.settle = None;
            }
            _ => {}
        }
        self.messages.push(received);
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes all messages out, first to last.
    pub fn drain(&mut self) -> impl Iterator<Item = Received> {
        self.flush();
        if self
            .messages
            .iter()
            .any(|received| received.message.is_some())
        {
            self.messages.retain(|received| received.message.is_some());
            for received in &mut self.messages {
                received.settle = received.settle.take().or_else(|| self.settle.clone());
            }
        } else {
            self.messages.clear();
        }
        self.settle = None;
        self.messages.drain(..)
    }

    /// Adds a whole queue of a transport, in its place if the batch is empty.
    #[doc(hidden)]
    pub fn add(&mut self, queue: &mut VecDeque<Received>, settle: &Arc<dyn Settle>) {
        if self.is_empty() {
            let empty = VecDeque::from(std::mem::take(&mut self.messages));
            self.messages = Vec::from(std::mem::replace(queue, empty));
            self.settle = Some(Arc::clone(settle));
        } else {
            for mut received in queue.drain(..) {
                received.settle = Some(Arc::clone(settle));
                self.push(received);
            }
        }
    }

    /// A message, and whom it is settled with, in its place: a message is some 200 bytes to move.
    #[doc(hidden)]
    #[inline(always)]
    pub fn get(&self, at: usize) -> Option<(&Inbound, &dyn Settle)> {
        let received = self.messages.get(at)?;
        let settle = received.settle.as_ref().or(self.settle.as_ref())?;
        Some((received.message.as_ref()?, &**settle))
    }

    /// Moves a message out of its place.
    #[doc(hidden)]
    pub fn take(&mut self, at: usize) -> Received {
        let received = &mut self.messages[at];
        Received {
            message: received.message.take(),
            settle: received.settle.take().or_else(|| self.settle.clone()),
            index: received.index,
        }
    }

    /// [`Received::ack`], then drops the message, in its place. Where the batch has the means, it is
    /// told with others, no later than by [`flush`](Self::flush).
    #[doc(hidden)]
    #[inline(always)]
    pub fn finish(&mut self, at: usize) {
        let received = &mut self.messages[at];
        if received.message.is_none() {
            return;
        }
        match received.settle.take() {
            Some(own) => own.ack(received.index),
            None => self.acked.push(received.index),
        }
        received.message = None;
        if self.acked.len() >= MOST_ACKED {
            self.flush();
        }
    }

    /// Tells what was acked.
    #[doc(hidden)]
    pub fn flush(&mut self) {
        if let Some(settle) = &self.settle
            && !self.acked.is_empty()
        {
            // Not here while it is told, so that nothing is told twice should that panic.
            let mut acked = std::mem::take(&mut self.acked);
            settle.ack_all(&acked);
            acked.clear();
            self.acked = acked;
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

impl Received {
    /// A message of a batch, for transports: `settle` will be told its `index`.
    pub fn new(message: Inbound, settle: Arc<dyn Settle>, index: u64) -> Self {
        Self {
            message: Some(message),
            settle: Some(settle),
            index,
        }
    }

    /// A message in a transport's own queue, in the form in which it is handed over: to move it
    /// about costs more than the rest of a publish. Dropping it tells nobody.
    #[doc(hidden)]
    pub fn queued(message: Inbound, index: u64) -> Self {
        Self {
            message: Some(message),
            settle: None,
            index,
        }
    }

    /// The index under which it will be settled.
    #[doc(hidden)]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The message reached its final state (D2).
    pub fn ack(mut self) {
        self.ack_in_place();
    }

    /// [`ack`](Self::ack) for who cannot give it away. It can be read until it is dropped.
    #[doc(hidden)]
    pub fn ack_in_place(&mut self) {
        // Settled before the message is dropped: its drop code belongs to the user.
        if let Some(settle) = self.settle.take() {
            settle.ack(self.index);
        }
    }

    /// Gives the message back, unchanged; it will come again.
    pub fn release(self) {
        drop(self);
    }

    /// Fires when the assignment of this message is lost.
    pub fn revoked(&self) -> &CancellationToken {
        self.settle().revoked()
    }

    /// Whom it is settled with.
    #[doc(hidden)]
    #[allow(clippy::expect_used, reason = "`ack` and `drop` alone take it")]
    pub fn settle(&self) -> &dyn Settle {
        self.settle.as_deref().expect("a settled message is gone")
    }
}

impl Deref for Received {
    type Target = Inbound;

    #[inline]
    #[allow(clippy::expect_used, reason = "`drop` alone takes it")]
    fn deref(&self) -> &Inbound {
        self.message.as_ref().expect("a dropped message is gone")
    }
}

impl Drop for Received {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take()
            && let Some(message) = self.message.take()
        {
            settle.release(self.index, message);
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&self.message).finish()
    }
}
