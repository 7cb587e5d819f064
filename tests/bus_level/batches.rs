//! What becomes of a whole batch of encoded records: handled where they lie as far as they end at
//! once, and settled in the order in which they end. contract: D1, D2, D8, O1, O6, X1, X3, X6, M2

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::memory::Memory;
use tidings::transport::{
    Batch, Capabilities, Carried, CloseReport, Consumer, Envelope, EventId, GroupTopology, Headers,
    Health, Inbound, Interest, Lag, Message, Name, Origin, Origination, Payload, PublishError,
    Receipt, Received, Settle, Signal, Subscribe, Topics, Topology, Transport, TransportError,
    TryPublish,
};
use tidings::{Bus, Delivery};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::kit::{Log, Step, quick, until};

/// A transport that hands over what it is told to, in one batch, and takes note of what becomes of
/// each; all else is memory.
#[derive(Clone)]
struct Scripted {
    memory: Memory,
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Ledger {
    batches: Mutex<VecDeque<Vec<(u64, Inbound)>>>,
    more: Notify,
    acked: Log<u64>,
    released: Log<u64>,
    lost: CancellationToken,
}

impl Ledger {
    /// Hands over a batch, whose messages are numbered from 0.
    fn hand_over(&self, batch: Vec<Inbound>) {
        let batch = (0..).zip(batch).collect();
        self.batches.lock().unwrap().push_back(batch);
        self.more.notify_one();
    }
}

impl Settle for Ledger {
    fn ack(&self, index: u64) {
        self.acked.push(index);
    }

    fn release(&self, index: u64, _: Inbound) {
        self.released.push(index);
    }

    fn revoked(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Consumer for Scripted {
    async fn receive(&mut self, max: usize, batch: &mut Batch) -> Result<Signal, TransportError> {
        loop {
            let next = self.ledger.batches.lock().unwrap().pop_front();
            if let Some(next) = next {
                assert!(next.len() <= max, "a batch of the test fits");
                for (index, message) in next {
                    let settle = Arc::clone(&self.ledger);
                    batch.push(Received::new(message, settle, index));
                }
                return Ok(Signal::Batch);
            }
            self.ledger.more.notified().await;
        }
    }

    async fn close(self, _: Duration) -> Result<(), TransportError> {
        Ok(())
    }
}

impl Transport for Scripted {
    type Consumer = Self;
    type Browser = <Memory as Transport>::Browser;

    fn system(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.memory.declare(topology).await
    }

    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        self.memory.attach(group)
    }

    fn detach(&self, group: &Name, topics: &Topics) {
        self.memory.detach(group, topics);
    }

    fn interest(&self, topic: &Name) -> Interest {
        self.memory.interest(topic)
    }

    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish {
        self.memory.try_publish(message, origin)
    }

    async fn publish(&self, message: Message, origin: Origin) -> Result<Receipt, PublishError> {
        self.memory.publish(message, origin).await
    }

    async fn subscribe(&self, _: Subscribe) -> Result<Self, TransportError> {
        Ok(self.clone())
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

/// A record as it comes from a wire.
fn record(id: &str, key: &str, body: &str) -> Inbound {
    let name = Name::from_static("step.taken");
    let envelope = Envelope::new(EventId::from(id), name.clone(), 1, Name::from("elsewhere"));
    Inbound {
        topic: name,
        key: Some(key.to_owned().into()),
        envelope: Carried::Raw(envelope.to_fields()),
        headers: Headers::new(),
        payload: Payload::Bytes(body.to_owned().into()),
        origination: Origination::default(),
    }
}

/// Step `number` of the key.
fn step(key: &str, number: u32) -> Inbound {
    let body = format!(r#"{{"key":"{key}","number":{number}}}"#);
    record(&format!("evt-{number}"), key, &body)
}

async fn scripted() -> (Bus, Arc<Ledger>) {
    let transport = Scripted {
        memory: Memory::new(),
        ledger: Arc::default(),
    };
    let ledger = Arc::clone(&transport.ledger);
    let builder = Bus::builder("svc").transport(transport).retry(quick());
    (builder.build().await.unwrap(), ledger)
}

async fn until_settled(ledger: &Ledger, count: usize) {
    let settled = || ledger.acked.len() + ledger.released.len() == count;
    until("everything is settled", settled).await;
}

/// How the first try of a step goes wrong.
#[derive(Clone, Copy)]
enum Wrong {
    Fails,
    Panics,
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_or_panics_keeps_back_its_key_and_nothing_else() {
    for wrong in [Wrong::Fails, Wrong::Panics] {
        let (bus, ledger) = scripted().await;
        let log = Log::default();
        bus.group("g").with((log.clone(), wrong)).on(
            async |(log, wrong): (Log<(u32, u32)>, Wrong), event: Delivery<Step>| {
                log.push((event.number, event.attempt()));
                match wrong {
                    _ if event.number != 1 || event.attempt() > 1 => Ok(()),
                    Wrong::Fails => Err("first try"),
                    Wrong::Panics => panic!("first try"),
                }
            },
        );
        bus.start().await.unwrap();
        let keys = ["a", "b", "c", "b", "a"];
        ledger.hand_over((0..).zip(keys).map(|(n, key)| step(key, n)).collect());
        until("all but the failed key", || ledger.acked.len() == 3).await;
        assert_eq!(ledger.acked.all(), [0, 2, 4]);
        assert_eq!(log.all(), [(0, 1), (1, 1), (2, 1), (4, 1)]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        until_settled(&ledger, 5).await;
        assert_eq!(ledger.acked.all(), [0, 2, 4, 1, 3]);
        assert_eq!(log.all()[4..], [(1, 2), (3, 1)]);
        assert_eq!(bus.group("g").stats().unwrap().completed, 5);
    }
}

#[tokio::test]
async fn one_that_waits_keeps_back_its_key_and_nothing_else() {
    let (bus, ledger) = scripted().await;
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    bus.group("g").with((log.clone(), Arc::clone(&gate))).on(
        async |(log, gate): (Log<u32>, Arc<Semaphore>), event: Step| {
            log.push(event.number);
            if event.key == "b" {
                gate.acquire().await.unwrap().forget();
            }
        },
    );
    bus.start().await.unwrap();
    let keys = ["a", "b", "b", "a", "c"];
    ledger.hand_over((0..).zip(keys).map(|(n, key)| step(key, n)).collect());
    until("all but the key that waits", || ledger.acked.len() == 3).await;
    assert_eq!(ledger.acked.all(), [0, 3, 4]);
    // Behind one that waits a later batch is no other matter.
    ledger.hand_over(vec![step("b", 5), step("a", 6)]);
    until("the other key", || ledger.acked.len() == 4).await;
    assert_eq!(log.all(), [0, 1, 3, 4, 6]);
    gate.add_permits(3);
    until_settled(&ledger, 7).await;
    assert_eq!(log.all(), [0, 1, 3, 4, 6, 2, 5]);
    assert_eq!(ledger.acked.all(), [0, 3, 4, 1, 1, 2, 0]);
}

/// contract: D8
#[tokio::test]
async fn what_cannot_be_read_is_dead_lettered_amid_others() {
    let (bus, ledger) = scripted().await;
    let log = Log::default();
    bus.group("g")
        .with(log.clone())
        .on(async |log: Log<u32>, event: Step| {
            log.push(event.number);
        });
    bus.start().await.unwrap();
    let mut no_version = step("a", 3);
    if let Carried::Raw(fields) = &mut no_version.envelope {
        fields.set("eventversion", "none");
    }
    let mut tombstone = step("a", 4);
    tombstone.payload = Payload::Tombstone;
    ledger.hand_over(vec![
        step("a", 0),
        record("evt-1", "a", r#"{"key":"a","number":"#),
        step("a", 2),
        no_version,
        tombstone,
        step("a", 5),
    ]);
    until_settled(&ledger, 6).await;
    assert_eq!(ledger.acked.all(), [0, 1, 2, 3, 4, 5], "as they ended");
    assert_eq!(log.all(), [0, 2, 5]);
    let letters = bus.dead_letters("g").list().await.unwrap();
    let data: Vec<_> = letters.iter().map(|letter| letter.bytes()).collect();
    assert_eq!(
        data,
        [r#"{"key":"a","number":"#, r#"{"key":"a","number":3}"#]
    );
    let stats = bus.group("g").stats().unwrap();
    assert_eq!((stats.completed, stats.dead_lettered), (3, 2));
    assert_eq!(stats.skipped, 1, "the tombstone");
}

/// contract: X1, X6
#[tokio::test]
async fn an_id_twice_in_a_batch_is_handled_once() {
    let (bus, ledger) = scripted().await;
    let log = Log::default();
    bus.group("g")
        .with(log.clone())
        .on(async |log: Log<u32>, event: Step| {
            log.push(event.number);
        });
    bus.start().await.unwrap();
    let other = record("evt-1", "b", r#"{"key":"b","number":9}"#);
    let batch = vec![step("a", 1), step("a", 1), step("b", 2), other];
    ledger.hand_over(batch);
    until_settled(&ledger, 4).await;
    assert_eq!(log.all(), [1, 2]);
    assert_eq!(ledger.acked.all(), [0, 1, 2, 3]);
    let stats = bus.group("g").stats().unwrap();
    assert_eq!((stats.completed, stats.duplicates), (2, 1));
    let letters = bus.dead_letters("g").list().await.unwrap();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason()).collect();
    assert_eq!(reasons, ["id_collision"]);
}

/// contract: X3, X5: a twin of one that waits is no duplicate before that one is done.
#[tokio::test]
async fn a_twin_of_one_that_waits_is_tried_if_that_one_fails() {
    let (bus, ledger) = scripted().await;
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    bus.group("g")
        .unordered()
        .with((log.clone(), Arc::clone(&gate)))
        .on(
            async |(log, gate): (Log<u32>, Arc<Semaphore>), event: Step| {
                let calls = log.push(event.number);
                gate.acquire().await.unwrap().forget();
                match calls {
                    1 => Err(tidings::permanent("no")),
                    _ => Ok(()),
                }
            },
        );
    bus.start().await.unwrap();
    ledger.hand_over(vec![step("a", 1), step("a", 1), step("a", 1)]);
    until("the first runs", || log.len() == 1).await;
    assert_eq!(ledger.acked.len(), 0, "nobody is a duplicate yet");
    gate.add_permits(2);
    until_settled(&ledger, 3).await;
    assert_eq!(log.len(), 2, "the first failed, the second did it");
    let stats = bus.group("g").stats().unwrap();
    let ended = (stats.dead_lettered, stats.completed, stats.duplicates);
    assert_eq!(ended, (1, 1, 1));
}

/// contract: O6, D4: handlers hear of it, and what is to be tried again is given back.
#[tokio::test(start_paused = true)]
async fn an_assignment_lost_amid_a_batch_is_heard_of_at_once() {
    let (bus, ledger) = scripted().await;
    let log = Log::default();
    bus.group("g").with((log.clone(), Arc::clone(&ledger))).on(
        async |(log, ledger): (Log<(u32, bool)>, Arc<Ledger>), event: Delivery<Step>| {
            log.push((event.number, event.is_cancelled()));
            match event.number {
                1 => ledger.lost.cancel(),
                2 => return Err("to be tried again"),
                _ => {}
            }
            Ok(())
        },
    );
    bus.start().await.unwrap();
    let keys = ["a", "b", "c", "d", "c"];
    ledger.hand_over((0..).zip(keys).map(|(n, key)| step(key, n)).collect());
    until_settled(&ledger, 5).await;
    assert_eq!(log.all(), [(0, false), (1, false), (2, true), (3, true)]);
    assert_eq!(ledger.acked.all(), [0, 1, 3]);
    let mut released = ledger.released.all();
    released.sort_unstable();
    assert_eq!(released, [2, 4], "the lane goes back as a whole");
}
