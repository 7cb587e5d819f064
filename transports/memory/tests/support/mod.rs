//! What every test of this transport needs: numbered messages, groups, and a member to read with.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tidings_memory::{Memory, MemoryConsumer};
use tidings_transport::{
    Batch, Carried, Consumer, GroupTopology, Headers, Message, Mode, Name, Origin, Payload,
    PublishError, Reason, Receipt, Received, Signal, Start, Subscribe, Topics, Transport,
    TryPublish,
};

pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) fn message(topic: &str, key: Option<&str>, number: u64) -> Message {
    Message {
        topic: Name::from(topic),
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes(Bytes::from(number.to_string())),
        delay: None,
    }
}

pub(crate) fn delayed(topic: &str, number: u64, delay: Duration) -> Message {
    Message {
        delay: Some(delay),
        ..message(topic, None, number)
    }
}

/// The number that [`message`] put into a payload.
pub(crate) fn number(payload: &Payload) -> u64 {
    match payload {
        Payload::Bytes(body) => std::str::from_utf8(body)
            .expect("text")
            .parse()
            .expect("number"),
        other => panic!("not a numbered message: {other:?}"),
    }
}

pub(crate) fn group(name: &str, topics: &[&str], queue: usize) -> GroupTopology {
    GroupTopology {
        name: Name::from(name),
        topics: Topics::exact(topics.iter().copied()),
        ordered: true,
        start: Start::Earliest,
        dead_letters: None,
        queue: Some(queue),
    }
}

pub(crate) fn matching(name: &str, pattern: &str) -> GroupTopology {
    let mut group = group(name, &[], 64);
    group
        .topics
        .patterns
        .push(pattern.parse().expect("a pattern"));
    group
}

pub(crate) fn from(group: &str) -> Origin {
    Origin {
        group: Some(Name::from(group)),
    }
}

pub(crate) fn subscribe(group: &str) -> Subscribe {
    Subscribe {
        group: Name::from(group),
        topics: Topics::default(),
        start: Start::Earliest,
        mode: Mode::AtLeastOnce,
        window: 1_000,
        ordered: true,
    }
}

pub(crate) async fn open(memory: &Memory, group: &str) -> MemoryConsumer {
    memory
        .subscribe(subscribe(group))
        .await
        .expect("an attached group")
}

/// Publishes without waiting; panics where that is not possible.
pub(crate) fn put(memory: &Memory, message: Message) -> Receipt {
    match memory.try_publish(message, &Origin::default()) {
        TryPublish::Done(receipt) => receipt,
        other => panic!("not published: {other:?}"),
    }
}

/// Whether a publish would have to wait.
pub(crate) fn waits(memory: &Memory, message: Message, origin: &Origin) -> bool {
    matches!(memory.try_publish(message, origin), TryPublish::Wait(_))
}

/// Why a publish is refused at once.
pub(crate) fn refusal(memory: &Memory, message: Message, origin: &Origin) -> PublishError {
    match memory.try_publish(message, origin) {
        TryPublish::Refused(error, _) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// Asserts NotPublished(Full).
pub(crate) fn assert_full(error: &PublishError, name: &str, own: bool) {
    assert!(!error.is_unknown());
    match error.reason() {
        Reason::Full { group, own_queue } => assert_eq!((&**group, *own_queue), (name, own)),
        other => panic!("not full: {other:?}"),
    }
}

pub(crate) fn assert_closed(error: &PublishError) {
    assert!(
        !error.is_unknown() && matches!(error.reason(), Reason::Closed),
        "{error:?}"
    );
}

/// Takes at most `max` messages that are there or come.
pub(crate) async fn take(consumer: &mut MemoryConsumer, max: usize) -> Vec<Received> {
    let mut batch = Batch::default();
    assert_eq!(
        consumer.receive(max, &mut batch).await.expect("open"),
        Signal::Batch
    );
    batch.drain().collect()
}

/// Takes what is there without waiting.
pub(crate) fn take_now(consumer: &mut MemoryConsumer, max: usize) -> Vec<Received> {
    let mut batch = Batch::default();
    // One poll says it all, however many came before in this task.
    let _ = poll_once(tokio::task::coop::unconstrained(
        consumer.receive(max, &mut batch),
    ));
    batch.drain().collect()
}

pub(crate) fn numbers(batch: &[Received]) -> Vec<u64> {
    batch
        .iter()
        .map(|received| number(&received.payload))
        .collect()
}

/// Takes what is there without waiting, acks it and returns its numbers.
pub(crate) fn drain_now(consumer: &mut MemoryConsumer) -> Vec<u64> {
    let batch = take_now(consumer, 1_000);
    let numbers = numbers(&batch);
    batch.into_iter().for_each(Received::ack);
    numbers
}

pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// End and settled of a group.
pub(crate) async fn lag(memory: &Memory, group: &str) -> (u64, u64) {
    let lag = memory
        .lag(&Name::from(group))
        .await
        .expect("an attached group");
    assert_eq!(lag.len(), 1);
    assert_eq!(lag[0].topic, "");
    (lag[0].end, lag[0].settled)
}
