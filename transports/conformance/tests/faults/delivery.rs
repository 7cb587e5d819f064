//! Faults between the queue and the handler.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidings_memory::Memory;
use tidings_transport::{
    Carried, Entry, EventId, Headers, Inbound, Message, Origin, Received, Subscribe, Transport,
};

use super::Plant;

/// No fault: the wrapper itself is innocent.
#[derive(Default)]
pub(crate) struct Sound;

impl Plant for Sound {}

/// Every twentieth delivery is acked and handed to nobody.
#[derive(Default)]
pub(crate) struct LosesOneInTwenty(AtomicUsize);

impl Plant for LosesOneInTwenty {
    fn deliver(&self, _memory: &Memory, batch: &mut Vec<Received>) {
        let all = std::mem::take(batch);
        for received in all {
            if self.0.fetch_add(1, Ordering::Relaxed) % 20 == 19 {
                received.ack();
            } else {
                batch.push(received);
            }
        }
    }
}

/// Batches come last first.
#[derive(Default)]
pub(crate) struct ReordersPerKey;

impl Plant for ReordersPerKey {
    fn deliver(&self, _memory: &Memory, batch: &mut Vec<Received>) {
        batch.reverse();
    }
}

/// At least once in name only.
#[derive(Default)]
pub(crate) struct AcksEarly;

impl Plant for AcksEarly {
    fn acks_early(&self) -> bool {
        true
    }
}

#[derive(Default)]
pub(crate) struct ForgetsHeaders;

impl Plant for ForgetsHeaders {
    fn disguise(&self, inbound: &mut Inbound) {
        inbound.headers = Headers::new();
    }
}

/// An empty key becomes none.
#[derive(Default)]
pub(crate) struct ForgetsEmptyKeys;

impl Plant for ForgetsEmptyKeys {
    fn disguise(&self, inbound: &mut Inbound) {
        inbound.key = inbound.key.take().filter(|key| !key.is_empty());
    }
}

/// The id is made anew with each delivery.
#[derive(Default)]
pub(crate) struct ChangesIds(AtomicUsize);

impl Plant for ChangesIds {
    fn disguise(&self, inbound: &mut Inbound) {
        if let Carried::Local(envelope) = &mut inbound.envelope {
            let serial = self.0.fetch_add(1, Ordering::Relaxed);
            envelope.id = EventId::from(format!("mine-{serial}"));
        }
    }
}

#[derive(Default)]
pub(crate) struct IgnoresRelease;

impl Plant for IgnoresRelease {
    fn release(&self, received: Received) {
        received.ack();
    }
}

/// What is acked comes again.
#[derive(Default)]
pub(crate) struct ForgetsAcks;

impl Plant for ForgetsAcks {
    fn ack(&self, received: Received) {
        received.release();
    }
}

#[derive(Default)]
pub(crate) struct AttemptStuckAtOne;

impl Plant for AttemptStuckAtOne {
    fn disguise(&self, inbound: &mut Inbound) {
        inbound.origination.attempt = 1;
    }
}

/// Hands over new messages before the window allows it.
#[derive(Default)]
pub(crate) struct WidensTheWindow;

impl Plant for WidensTheWindow {
    fn subscribe(&self, subscribe: &mut Subscribe) {
        subscribe.window *= 2;
    }
}

/// What a dropped receive had taken is gone.
#[derive(Default)]
pub(crate) struct SwallowsWhenCancelled;

impl Plant for SwallowsWhenCancelled {
    fn swallows_when_cancelled(&self) -> bool {
        true
    }
}

/// A failure in one group sends the message to all of them again.
#[derive(Default)]
pub(crate) struct LeaksFailures;

impl Plant for LeaksFailures {
    fn deliver(&self, memory: &Memory, batch: &mut Vec<Received>) {
        for received in batch
            .iter()
            .filter(|received| received.origination.attempt == 2)
        {
            let again = Message {
                topic: received.topic.clone(),
                key: received.key.clone(),
                envelope: received.envelope.clone(),
                headers: received.headers.clone(),
                payload: received.payload.clone(),
                delay: None,
            };
            drop(memory.try_publish(again, &Origin::default()));
        }
    }
}

/// A group is removed when one of its members leaves.
#[derive(Default)]
pub(crate) struct ForgetsTheGroup;

impl Plant for ForgetsTheGroup {
    fn left(&self, memory: &Memory, subscribe: &Subscribe) {
        memory.detach(&subscribe.group, &subscribe.topics);
    }
}

#[derive(Default)]
pub(crate) struct KeepsRemovedEntries;

impl Plant for KeepsRemovedEntries {
    fn keep_entry(&self, _entry: &Entry) -> bool {
        true
    }
}
