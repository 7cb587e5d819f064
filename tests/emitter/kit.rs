//! What every case shares.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{
    Capabilities, CloseReport, GroupTopology, Health, Interest, Lag, Message, Name, Origin,
    PublishError, Reason, Receipt, Subscribe, Topics, Topology, Transport, TransportError,
    TryPublish,
};
use tidings::{Bus, Event};
use tokio::sync::Semaphore;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "emitter.ping", version = 1)]
pub(crate) struct Ping(pub(crate) u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "emitter.pong", version = 1)]
pub(crate) struct Pong(pub(crate) u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "emitter.echo", version = 1)]
pub(crate) struct Echo(pub(crate) u32);

pub(crate) async fn bus() -> Bus {
    Bus::builder("svc").build().await.unwrap()
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Polls once; whether it still waits.
pub(crate) async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|task| Poll::Ready(future.as_mut().poll(task).is_pending())).await
}

/// Yields until it is so. What never comes true hangs; a test runner's limit ends that.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// A transport elsewhere, as far as the bus can tell: durable, so groups consume from `start`;
/// every publish waits for an answer, which the test gives.
#[derive(Clone)]
pub(crate) struct Broker {
    memory: Memory,
    answers: Arc<Semaphore>,
    answer: Arc<Mutex<Answer>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Ok,
    Refused,
    Lost,
}

impl Broker {
    /// One that answers at once.
    pub(crate) fn prompt() -> Self {
        let broker = Self::silent();
        broker.answer(Answer::Ok, Semaphore::MAX_PERMITS);
        broker
    }

    /// One that answers nothing until it is told to.
    pub(crate) fn silent() -> Self {
        Self {
            memory: Memory::new().encoded(true),
            answers: Arc::new(Semaphore::new(0)),
            answer: Arc::new(Mutex::new(Answer::Ok)),
        }
    }

    /// Answers so many publishes like this.
    pub(crate) fn answer(&self, answer: Answer, publishes: usize) {
        *self.answer.lock().unwrap() = answer;
        self.answers.add_permits(publishes);
    }
}

impl Transport for Broker {
    type Consumer = <Memory as Transport>::Consumer;
    type Browser = <Memory as Transport>::Browser;

    fn system(&self) -> &'static str {
        "test-broker"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            confirms: true,
            ..self.memory.capabilities()
        }
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.memory.declare(topology).await
    }

    fn attach(&self, _: &GroupTopology) -> Result<(), TransportError> {
        Ok(())
    }

    fn detach(&self, _: &Name, _: &Topics) {}

    fn interest(&self, _: &Name) -> Interest {
        Interest::unknown()
    }

    fn try_publish(&self, message: Message, _: &Origin) -> TryPublish {
        TryPublish::Wait(message)
    }

    async fn publish(&self, message: Message, origin: Origin) -> Result<Receipt, PublishError> {
        self.answers.acquire().await.unwrap().forget();
        let answer = *self.answer.lock().unwrap();
        match answer {
            Answer::Ok => self.memory.publish(message, origin).await,
            Answer::Refused => Err(PublishError::not_published(Reason::Unroutable("t".into()))),
            Answer::Lost => Err(PublishError::unknown(Reason::Timeout)),
        }
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Self::Consumer, TransportError> {
        self.memory.subscribe(subscribe).await
    }

    async fn browse(&self, topic: &Name) -> Result<Self::Browser, TransportError> {
        self.memory.browse(topic).await
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        self.memory.lag(group).await
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        self.memory.close(deadline).await
    }
}
