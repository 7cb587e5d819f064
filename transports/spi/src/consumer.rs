use std::{fmt, future::Future, ops::Deref, sync::Arc, time::Duration};

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
        batch: &mut Vec<Received>,
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

    /// The message is given back unchanged and will come again. As [`ack`](Self::ack) otherwise.
    fn release(&self, index: u64, message: Inbound);

    /// Fires when the assignment of these messages is lost, before the transport waits for them.
    fn revoked(&self) -> &CancellationToken;
}

/// A delivered message that must be settled, once, by value; dropping it gives it back.
pub struct Received {
    message: Option<Inbound>,
    // `None` once it is settled.
    settle: Option<Arc<dyn Settle>>,
    index: u64,
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

    /// Hands over what was [`queued`](Self::queued): from now on it must be settled.
    #[doc(hidden)]
    #[inline]
    pub fn hand_over(&mut self, settle: Arc<dyn Settle>) {
        self.settle = Some(settle);
    }

    /// The message reached its final state (D2).
    pub fn ack(mut self) {
        self.ack_in_place();
    }

    /// [`ack`](Self::ack) for who cannot give it away: a message is some 200 bytes to move. It can
    /// be read until it is dropped.
    #[doc(hidden)]
    #[inline]
    pub fn ack_in_place(&mut self) {
        // Settled before the message is dropped: its drop code belongs to the user.
        if let Some(settle) = self.settle.take() {
            settle.ack(self.index);
        }
    }

    /// Moves it out of its place in a batch; what is left there is settled and empty.
    #[doc(hidden)]
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            message: self.message.take(),
            settle: self.settle.take(),
            index: self.index,
        }
    }

    /// [`ack`](Self::ack), then drops the message, in its place in a batch.
    #[doc(hidden)]
    #[inline]
    pub fn finish(&mut self) {
        self.ack_in_place();
        self.message = None;
    }

    /// Gives the message back, unchanged; it will come again.
    pub fn release(self) {
        drop(self);
    }

    /// Fires when the assignment of this message is lost.
    #[allow(clippy::expect_used, reason = "`ack` and `drop` alone take it")]
    pub fn revoked(&self) -> &CancellationToken {
        self.settle
            .as_ref()
            .expect("a settled message is gone")
            .revoked()
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
