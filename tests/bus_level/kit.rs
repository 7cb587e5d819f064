//! What every case shares.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{Carried, Headers, Message, Name, Origin, Payload, Receipt, Transport};
use tidings::{Bus, BusBuilder, Event, RetryPolicy};

/// An event of every case: a key and a number in its sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "step.taken", version = 1, key = key)]
pub(crate) struct Step {
    pub(crate) key: String,
    pub(crate) number: u32,
}

pub(crate) fn step(key: impl Into<String>, number: u32) -> Step {
    Step {
        key: key.into(),
        number,
    }
}

/// A transport that cases can also reach past the bus.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) memory: Memory,
}

impl World {
    pub(crate) fn all() -> [(&'static str, Self); 2] {
        let memory = || Memory::new();
        [
            ("memory://", Self { memory: memory() }),
            (
                "memory://?encoded=true",
                Self {
                    memory: memory().encoded(true),
                },
            ),
        ]
    }

    pub(crate) fn builder(&self) -> BusBuilder {
        Bus::builder("svc")
            .transport(self.memory.clone())
            .retry(quick())
    }

    pub(crate) async fn bus(&self) -> Bus {
        self.builder().build().await.unwrap()
    }

    /// Publishes what no bus would.
    pub(crate) async fn inject(&self, topic: &str, fields: Headers, body: &[u8]) -> Receipt {
        let message = Message {
            topic: Name::from(topic),
            key: None,
            envelope: Carried::Raw(fields),
            headers: Headers::new(),
            payload: Payload::Bytes(body.to_vec().into()),
            delay: None,
        };
        self.memory
            .publish(message, Origin::default())
            .await
            .unwrap()
    }
}

/// Few and short waits, so that a failing case fails soon; on a paused clock they cost nothing.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::exponential()
        .attempts(3)
        .base(Duration::from_millis(10))
        .cap(Duration::from_millis(40))
}

/// Something that handlers write down, in order.
#[derive(Clone, Debug)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn push(&self, entry: T) -> usize {
        let mut log = self.0.lock().unwrap();
        log.push(entry);
        log.len()
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Waits on a condition; the clock is paused, so what it waits for is work, not time.
pub(crate) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if check() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never came true: {what}");
}
