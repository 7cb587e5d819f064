//! Faults between the publisher and the queue, and at the end.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_memory::Memory;
use tidings_transport::{
    BoxFuture, CloseReport, GroupTopology, Groups, Health, Interest, Lag, Message, Name, Origin,
    Payload, PublishError, Receipt, Transport, TransportError, TryPublish,
};

use super::Plant;

type Published<'a> = BoxFuture<'a, Result<Receipt, PublishError>>;
type Closed<'a> = BoxFuture<'a, Result<CloseReport, TransportError>>;

/// Every twentieth message is published twice.
#[derive(Default)]
pub(crate) struct Duplicates(AtomicUsize);

impl Plant for Duplicates {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> Published<'a> {
        Box::pin(async move {
            if self.0.fetch_add(1, Ordering::Relaxed) % 20 == 19 {
                memory.publish(message.clone(), origin.clone()).await?;
            }
            memory.publish(message, origin).await
        })
    }
}

/// Now and then a message goes where the one before it went.
#[derive(Default)]
pub(crate) struct MixesTopics {
    published: AtomicUsize,
    last: Mutex<Option<Name>>,
}

impl Plant for MixesTopics {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        mut message: Message,
        origin: Origin,
    ) -> Published<'a> {
        let topic = message.topic.clone();
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(topic);
        if let Some(last) = last
            && self.published.fetch_add(1, Ordering::Relaxed) % 10 == 9
        {
            message.topic = last;
        }
        Box::pin(memory.publish(message, origin))
    }
}

/// Claims a group that does not exist.
#[derive(Default)]
pub(crate) struct LiesInItsReceipt;

impl Plant for LiesInItsReceipt {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> Published<'a> {
        Box::pin(async move {
            let mut receipt = memory.publish(message, origin).await?;
            if receipt.groups.names().is_some_and(<[_]>::is_empty) {
                receipt.groups = Groups::One(Name::from_static("somebody"));
            }
            Ok(receipt)
        })
    }
}

/// Says Ok where nobody is bound, and not a word of it.
#[derive(Default)]
pub(crate) struct HidesTheUnroutable;

impl Plant for HidesTheUnroutable {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> Published<'a> {
        Box::pin(async move {
            let receipt = memory.publish(message, origin).await?;
            Ok(Receipt {
                groups: Groups::Unknown,
                ..receipt
            })
        })
    }
}

/// A message that finds the queue full is gone, and yet Ok.
#[derive(Default)]
pub(crate) struct DropsWhenFull;

impl Plant for DropsWhenFull {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> Published<'a> {
        Box::pin(async move {
            match memory.try_publish(message, &origin) {
                TryPublish::Done(receipt) => Ok(receipt),
                TryPublish::Wait(_) => Ok(Receipt::default()),
                TryPublish::Refused(error, _) => Err(error),
            }
        })
    }
}

/// Never says that a queue is full.
#[derive(Default)]
pub(crate) struct UnboundedQueue;

impl Plant for UnboundedQueue {
    fn group(&self, group: &mut GroupTopology) {
        group.queue = Some(1_000_000);
    }
}

/// Cuts off what is too large instead of refusing it.
#[derive(Default)]
pub(crate) struct TruncatesTheOversize;

impl Plant for TruncatesTheOversize {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        mut message: Message,
        origin: Origin,
    ) -> Published<'a> {
        if let Payload::Bytes(body) = &mut message.payload {
            body.truncate(memory.capabilities().max_size);
        }
        Box::pin(memory.publish(message, origin))
    }
}

/// Delivers after half of the delay.
#[derive(Default)]
pub(crate) struct DelaysTooLittle;

impl Plant for DelaysTooLittle {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        mut message: Message,
        origin: Origin,
    ) -> Published<'a> {
        message.delay = message.delay.map(|delay| delay / 2);
        Box::pin(memory.publish(message, origin))
    }
}

/// Ok, although nobody will ever get it.
#[derive(Default)]
pub(crate) struct OkAfterClose;

impl Plant for OkAfterClose {
    fn publish<'a>(
        &'a self,
        memory: &'a Memory,
        message: Message,
        origin: Origin,
    ) -> Published<'a> {
        Box::pin(async move {
            if memory.health() == Health::Closed {
                return Ok(Receipt::default());
            }
            memory.publish(message, origin).await
        })
    }
}

#[derive(Default)]
pub(crate) struct HangsOnClose;

impl Plant for HangsOnClose {
    fn close<'a>(&'a self, _memory: &'a Memory, _deadline: Duration) -> Closed<'a> {
        Box::pin(pending())
    }
}

/// Whatever was left, the report says nothing was.
#[derive(Default)]
pub(crate) struct CountsNothingOnClose;

impl Plant for CountsNothingOnClose {
    fn close<'a>(&'a self, memory: &'a Memory, deadline: Duration) -> Closed<'a> {
        Box::pin(async move {
            // The fault under test is that this result is thrown away.
            let _ = memory.close(deadline).await;
            Ok(CloseReport::default())
        })
    }
}

/// What was true when it was asked first stays so.
#[derive(Default)]
pub(crate) struct RemembersOldInterest;

impl Plant for RemembersOldInterest {
    fn interest(&self, memory: &Memory, topic: &Name) -> Interest {
        let groups = usize::from(!memory.interest(topic).is_none());
        Interest::counted(Arc::new(AtomicUsize::new(groups)))
    }
}

#[derive(Default)]
pub(crate) struct LagStandsStill;

impl Plant for LagStandsStill {
    fn lag(&self, mut lag: Vec<Lag>) -> Vec<Lag> {
        lag.iter_mut().for_each(|entry| entry.settled = 0);
        lag
    }
}
