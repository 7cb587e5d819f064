//! Names, headers, capabilities, messages and errors: what passes through a transport's hands.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidings_transport::{
    Batch, Capabilities, Capability, Carried, Encode, EncodeError, Encoded, Encoder, Envelope,
    ErrorKind, EventId, HeaderError, Headers, Health, Inbound, Interest, Local, Message, Name,
    Origination, Payload, PublishError, Reason, Received, Settle, TransportError,
};
use tokio_util::sync::CancellationToken;

#[test]
fn a_name_equals_and_sorts_as_its_text() {
    let (constant, shared) = (Name::from_static("a"), Name::from(String::from("a")));
    assert_eq!(constant, shared);
    assert!(shared == "a" && shared == *"a" && shared != "b");
    assert_eq!(HashMap::from([(constant.clone(), 1)]).get("a"), Some(&1));
    assert_eq!(BTreeMap::from([(shared.clone(), 1)]).get("a"), Some(&1));
    assert!(shared < Name::from_static("b"));
    assert_eq!(format!("{shared:>3}|{shared:?}"), "  a|\"a\"");
}

#[test]
fn the_first_of_repeated_headers_wins() {
    let mut headers = Headers::new();
    headers.push("a", "1");
    headers.push("a", "2");
    headers.push("b", Bytes::from_static(b"\xff"));
    assert_eq!((headers.get_str("a"), headers.len()), (Some("1"), 3));
    assert_eq!(headers.get_str("b"), None, "no text");
    let shared = headers.clone();
    headers.set("a", "3");
    assert_eq!((headers.get_str("a"), headers.len()), (Some("3"), 2));
    assert_eq!(shared.len(), 3, "a clone is its own");
    headers.remove("a");
    headers.remove("missing");
    assert_eq!(
        headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(
        format!("{headers:?}"),
        "{\"b\": 1 bytes}",
        "values may be private"
    );
}

#[test]
fn headers_are_checked_for_what_every_transport_can_carry() {
    let with = |name: &str, value: &str| {
        let mut headers = Headers::new();
        headers.push(name, value.to_owned());
        headers
    };
    assert!(Headers::new().is_empty());
    assert_eq!(with(&"n".repeat(255), "").check(255), Ok(()));
    for bad in ["", "a\nb", &"n".repeat(256)] {
        assert_eq!(
            with(bad, "").check(1_000),
            Err(HeaderError::Name(bad.into()))
        );
    }
    let over = HeaderError::TooLarge { size: 4, limit: 3 };
    assert_eq!(with("ab", "cd").check(3), Err(over));
}

#[test]
fn each_flag_is_its_own() {
    for capability in Capability::ALL {
        assert!(!Capabilities::none(1).has(capability), "{capability}");
    }
    let mut some = Capabilities::none(1);
    (some.attempt_count, some.durable) = (true, true);
    let declared: Vec<_> = Capability::ALL
        .into_iter()
        .filter(|it| some.has(*it))
        .collect();
    assert_eq!(declared, [Capability::AttemptCount, Capability::Durable]);
    assert_eq!(Capability::AttemptCount.to_string(), "attempt count");
}

#[test]
fn interest_is_none_only_where_that_is_certain() {
    let groups = Arc::new(AtomicUsize::new(0));
    let interest = Interest::counted(Arc::clone(&groups));
    assert!(interest.is_none() && !Interest::unknown().is_none());
    groups.store(1, Ordering::Release);
    assert!(!interest.is_none());
}

struct Text;

impl Encode for Text {
    fn encode(
        &self,
        value: &(dyn Any + Send + Sync),
        envelope: &Envelope,
    ) -> Result<Encoded, EncodeError> {
        let text = value
            .downcast_ref::<&str>()
            .ok_or_else(|| EncodeError::new("no text").with_source(std::fmt::Error))?;
        let (fields, body) = (envelope.to_fields(), Bytes::from_static(text.as_bytes()));
        Ok(Encoded { fields, body })
    }
}

fn message(payload: Payload, envelope: Carried) -> Message {
    Message {
        topic: Name::from_static("orders"),
        key: None,
        envelope,
        headers: Headers::new(),
        payload,
        delay: None,
    }
}

#[test]
fn a_local_value_is_encoded_for_the_wire_and_bytes_pass() {
    let envelope = || Envelope::new(EventId::from("e"), "a".into(), 1, "s".into());
    let local = |value: Arc<dyn Any + Send + Sync>| {
        let encoder = Encoder::new(Text);
        Payload::Local(Local { value, encoder })
    };
    let wire = message(local(Arc::new("body")), Carried::Local(envelope())).into_wire();
    let wire = wire.expect("encodes");
    assert_eq!(wire.body.as_deref(), Some(&b"body"[..]));
    assert_eq!(wire.fields, envelope().to_fields());

    let error = message(local(Arc::new(1)), Carried::Local(envelope())).into_wire();
    let error = error.expect_err("no text");
    assert!(error.to_string() == "no text" && error.source().is_some());
    assert!(!error.is_non_finite() && EncodeError::non_finite("NaN").is_non_finite());
    let raw = || Carried::Raw(Headers::new());
    assert!(message(local(Arc::new("body")), raw()).into_wire().is_err());

    let bytes = message(Payload::Bytes(Bytes::from_static(b"x")), raw()).into_wire();
    assert_eq!(bytes.expect("as it is").body.as_deref(), Some(&b"x"[..]));
    let tombstone = message(Payload::Tombstone, raw()).into_wire();
    assert_eq!(tombstone.expect("as it is").body, None);
}

#[derive(Default)]
struct Log(Mutex<Vec<(&'static str, u64)>>, CancellationToken);

impl Settle for Log {
    fn ack(&self, index: u64) {
        self.0.lock().expect("not poisoned").push(("ack", index));
    }

    fn release(&self, index: u64, message: Inbound) {
        assert_eq!(message.topic, "orders", "given back unchanged");
        self.0
            .lock()
            .expect("not poisoned")
            .push(("release", index));
    }

    fn revoked(&self) -> &CancellationToken {
        &self.1
    }
}

fn inbound() -> Inbound {
    Inbound {
        topic: Name::from_static("orders"),
        key: None,
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Tombstone,
        origination: Origination::default(),
    }
}

#[test]
fn each_message_is_settled_once() {
    let log = Arc::new(Log::default());
    let received = |index| Received::new(inbound(), Arc::clone(&log) as Arc<dyn Settle>, index);
    received(0).ack();
    received(1).release();
    drop(received(2));
    let settled = [("ack", 0), ("release", 1), ("release", 2)];
    assert_eq!(*log.0.lock().expect("not poisoned"), settled);
    let open = received(3);
    assert!(open.topic == "orders" && !open.revoked().is_cancelled());
    log.1.cancel();
    assert!(open.revoked().is_cancelled());
}

#[test]
fn a_batch_settles_what_lies_in_it_and_gives_back_the_rest() {
    let log = Arc::new(Log::default());
    let common = Arc::clone(&log) as Arc<dyn Settle>;
    let queue = |indexes: std::ops::Range<u64>| {
        let queued = indexes.map(|index| Received::queued(inbound(), index));
        queued.collect::<VecDeque<_>>()
    };
    let said = || std::mem::take(&mut *log.0.lock().expect("not poisoned"));

    let mut batch = Batch::default();
    batch.add(&mut queue(0..5), &common);
    let other = Arc::new(Log::default());
    batch.push(Received::new(inbound(), Arc::clone(&other) as _, 5));
    batch.push(Received::new(inbound(), Arc::clone(&common), 6));
    batch.add(&mut queue(7..8), &common);
    assert_eq!((batch.len(), batch.is_empty()), (8, false));
    batch.finish(0);
    batch.finish(5);
    batch.finish(6);
    assert_eq!(said(), [], "what is the same for all waits");
    let settled = std::mem::take(&mut *other.0.lock().expect("not poisoned"));
    assert_eq!(settled, [("ack", 5)]);
    batch.finish(2);
    batch.finish(2);
    batch.flush();
    assert_eq!(said(), [("ack", 0), ("ack", 6), ("ack", 2)]);
    batch.flush();
    assert_eq!(said(), []);

    assert!(batch.get(1).is_some() && batch.get(0).is_none() && batch.get(8).is_none());
    let taken = batch.take(1);
    assert!(batch.get(1).is_none() && !taken.revoked().is_cancelled());
    taken.ack();
    batch.finish(3);
    drop(batch);
    let settled = [("ack", 1), ("ack", 3), ("release", 4), ("release", 7)];
    assert_eq!(said(), settled, "acks first, and nothing twice");

    let mut batch = Batch::default();
    batch.add(&mut queue(0..4), &common);
    batch.finish(0);
    let mut rest = batch.drain();
    rest.next().expect("the second").ack();
    drop(rest);
    let settled = [("ack", 0), ("ack", 1), ("release", 2), ("release", 3)];
    assert_eq!(said(), settled, "also what a drain leaves is given back");
    assert!(batch.is_empty());
}

#[test]
fn acks_put_together_are_bounded() {
    let log = Arc::new(Log::default());
    let mut queue = (0..100)
        .map(|index| Received::queued(inbound(), index))
        .collect();
    let mut batch = Batch::default();
    batch.add(&mut queue, &(Arc::clone(&log) as Arc<dyn Settle>));
    for at in 0..100 {
        batch.finish(at);
        let settled = log.0.lock().expect("not poisoned").len();
        assert!(at + 1 - settled < 32, "{settled} of {}", at + 1);
    }
}

/// Panics when it is told of message 3.
struct Stumbling(Log);

impl Settle for Stumbling {
    fn ack(&self, index: u64) {
        self.0.ack(index);
        assert!(index != 3, "told of {index}");
    }

    fn release(&self, index: u64, message: Inbound) {
        self.0.release(index, message);
    }

    fn revoked(&self) -> &CancellationToken {
        self.0.revoked()
    }
}

#[test]
fn a_settle_that_panics_is_told_nothing_twice() {
    let settle = Arc::new(Stumbling(Log::default()));
    let mut batch = Batch::default();
    let mut queue = (0..8)
        .map(|index| Received::queued(inbound(), index))
        .collect();
    batch.add(&mut queue, &(Arc::clone(&settle) as _));
    (0..6).for_each(|at| batch.finish(at));
    let flushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batch.flush()));
    assert!(flushed.is_err(), "the panic goes on");
    batch.finish(6);
    drop(batch);
    let told = [0, 1, 2, 3, 6].map(|index| ("ack", index));
    let said = settle.0.0.lock().expect("not poisoned");
    assert_eq!(said[..5], told);
    assert_eq!(said[5..], [("release", 7)]);
}

struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        panic!("the user's own drop code");
    }
}

#[test]
fn a_message_whose_drop_panics_is_settled_all_the_same() {
    let log = Arc::new(Log::default());
    let loud = || Inbound {
        payload: Payload::Local(Local {
            value: Arc::new(Loud),
            encoder: Encoder::new(Text),
        }),
        ..inbound()
    };
    let received = Received::new(loud(), Arc::clone(&log) as Arc<dyn Settle>, 0);
    let acked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| received.ack()));
    assert!(acked.is_err(), "the panic goes on");
    assert_eq!(*log.0.lock().expect("not poisoned"), [("ack", 0)]);

    let mut batch = Batch::default();
    let queued = Received::queued(loud(), 1);
    batch.add(&mut VecDeque::from([queued]), &(Arc::clone(&log) as _));
    let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batch.finish(0)));
    assert!(finished.is_err(), "here too");
    drop(batch);
    assert_eq!(
        *log.0.lock().expect("not poisoned"),
        [("ack", 0), ("ack", 1)]
    );
}

#[test]
fn errors_say_their_own_level_and_keep_the_rest_in_the_source() {
    let lost = TransportError::new(ErrorKind::Connection, "no broker at kafka:9092")
        .with_source(std::io::Error::other("refused"));
    assert!(lost.is_retryable() && lost.kind() == ErrorKind::Connection);
    assert_eq!(lost.to_string(), "no broker at kafka:9092");
    assert_eq!(
        lost.source().map(ToString::to_string).as_deref(),
        Some("refused")
    );
    assert!(!TransportError::new(ErrorKind::Auth, "wrong password").is_retryable());

    let error = PublishError::unknown(lost);
    assert!(error.is_unknown());
    assert_eq!(
        error.to_string(),
        "the event may or may not have been published"
    );
    let reason = error.source().map(ToString::to_string);
    assert_eq!(reason.as_deref(), Some("no broker at kafka:9092"));

    let error = PublishError::not_published(Reason::Closed);
    assert!(!error.is_unknown() && matches!(error.reason(), Reason::Closed));
    assert_eq!(error.to_string(), "the event was not published");
    assert!(matches!(error.into_reason(), Reason::Closed));
}

#[test]
fn health_says_why() {
    for (health, text) in [
        (Health::Connected, "connected"),
        (
            Health::Connecting("since noon".into()),
            "connecting: since noon",
        ),
        (Health::Blocked("disk alarm".into()), "blocked: disk alarm"),
        (Health::Closed, "closed"),
    ] {
        assert_eq!(health.to_string(), text);
    }
}
