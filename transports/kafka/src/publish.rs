//! One ordered way into librdkafka (trap 11).
//!
//! `FutureProducer::send` sleeps while the client's queue is full and lets later sends overtake. So
//! a publish that finds no room waits in a line of our own; who comes later joins its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use rdkafka::util::Timeout;
use tidings_transport::{
    ErrorKind, Message, Name, Payload, Position, PublishError, Reason, Receipt, TransportError,
    Wire,
};
use tokio::sync::oneshot;

use crate::reports::Reports;
use crate::status::Status;
use crate::{KafkaConfig, error, headers, topic};

/// What a delivery report said.
pub(crate) type Verdict = Result<Position, Code>;
pub(crate) type Client = BaseProducer<Reports>;

/// What can be checked before the event is encoded (P6).
pub(crate) fn check(message: &Message, config: &KafkaConfig) -> Result<(), PublishError> {
    let refused = PublishError::not_published;
    topic::check(&message.topic).map_err(|text| refused(Reason::Invalid(text)))?;
    if message.delay.is_some() {
        return Err(refused(Reason::Unsupported(
            "Kafka cannot deliver an event later: leave out `after`, or use a transport whose \
             capabilities name delay"
                .into(),
        )));
    }
    headers::check(&message.headers, config.max_headers)
        .map_err(|error| refused(Reason::Header(error)))?;
    let key = message.key.as_ref().map_or(0, Bytes::len);
    if key > config.max_headers {
        return Err(refused(Reason::Invalid(format!(
            "a key of {key} bytes is over the limit of {} bytes: use an id, not the data",
            config.max_headers
        ))));
    }
    match &message.payload {
        Payload::Bytes(body) => check_size(body, config),
        Payload::Local(_) | Payload::Tombstone => Ok(()),
    }
}

fn check_size(body: &Bytes, config: &KafkaConfig) -> Result<(), PublishError> {
    let (size, limit) = (body.len(), config.max_payload);
    if size > limit {
        return Err(PublishError::not_published(Reason::TooLarge {
            size,
            limit,
        }));
    }
    Ok(())
}

/// All checks of P6, and the record that goes to the client.
pub(crate) fn record(message: Message, config: &KafkaConfig) -> Result<Record, PublishError> {
    check(&message, config)?;
    let wire = message
        .into_wire()
        .map_err(|error| PublishError::not_published(Reason::Encode(error)))?;
    if let Some(body) = &wire.body {
        check_size(body, config)?;
    }
    Ok(Record::new(wire))
}

pub(crate) struct Record {
    topic: Name,
    key: Option<Bytes>,
    body: Option<Bytes>,
    // Taken while the client has them.
    headers: Option<OwnedHeaders>,
}

impl Record {
    /// What removes the record of a key from a compacted topic.
    pub(crate) fn tombstone(topic: Name, key: Bytes) -> Self {
        Self {
            topic,
            key: Some(key),
            body: None,
            headers: None,
        }
    }

    fn new(wire: Wire) -> Self {
        Self {
            headers: Some(headers::to_kafka(&wire.fields, &wire.headers)),
            topic: wire.topic,
            key: wire.key,
            body: wire.body,
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The producer and the line before it.
pub(crate) struct Line {
    config: ClientConfig,
    deadline: Duration,
    status: Arc<Status>,
    state: Mutex<State>,
    // How many wait, for who must not take the lock to learn that nobody does.
    waiting: AtomicUsize,
    pub(crate) unknown: AtomicUsize,
}

#[derive(Default)]
struct State {
    client: Option<Arc<Client>>,
    waiting: VecDeque<Waiting>,
    tickets: u64,
    closing: Option<Closing>,
    closed: bool,
}

struct Waiting {
    ticket: u64,
    record: Record,
    report: Box<oneshot::Sender<Verdict>>,
}

struct Closing {
    until: Instant,
    done: oneshot::Sender<usize>,
}

impl Line {
    pub(crate) fn new(config: ClientConfig, deadline: Duration, status: Arc<Status>) -> Arc<Self> {
        Arc::new(Self {
            config,
            deadline,
            status,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            unknown: AtomicUsize::new(0),
        })
    }

    /// Publishes; from its first poll on in the order of its topic and key (P5).
    pub(crate) async fn publish(self: &Arc<Self>, record: Record) -> Result<Receipt, PublishError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(PublishError::not_published(error::config(
                "a publish to Kafka needs a tokio runtime: call it inside one",
            )));
        }
        let topic = record.topic.clone();
        let (report, verdict) = oneshot::channel();
        let place = self.enter(record, Box::new(report))?;
        match tokio::time::timeout(self.deadline, verdict).await {
            Ok(Ok(Ok(position))) => Ok(Receipt {
                position: Some(position),
                ..Receipt::default()
            }),
            Ok(Ok(Err(Code::PurgeQueue | Code::PurgeInflight))) if !self.state().closed => {
                // Which of the two does not matter: the event can be published again, as the same.
                Err(PublishError::unknown(TransportError::new(
                    ErrorKind::Connection,
                    "the Kafka producer met a fatal error and was made anew",
                )))
            }
            Ok(Ok(Err(code))) => Err(error::not_delivered(&topic, code)),
            // The client went away with it.
            Ok(Err(_)) => Err(PublishError::unknown(Reason::Closed)),
            Err(_) if place.is_some_and(|place| place.leave()) => {
                Err(PublishError::not_published(error::timeout(format!(
                    "{} records are on their way to Kafka already and none made room within {:?}: \
                     emit less, or raise `buffered_messages`",
                    self.in_flight(),
                    self.deadline
                ))))
            }
            Err(_) => Err(PublishError::unknown(Reason::Timeout)),
        }
    }

    /// The producer's client, for questions.
    pub(crate) fn client(self: &Arc<Self>) -> Result<Arc<Client>, TransportError> {
        let mut state = self.state();
        match &state.client {
            _ if state.closed => Err(error::closed()),
            Some(client) => Ok(Arc::clone(client)),
            None => Ok(Arc::clone(state.client.insert(self.start()?))),
        }
    }

    /// Hands a record to the client, or takes a place in the line.
    fn enter(
        self: &Arc<Self>,
        mut record: Record,
        report: Box<oneshot::Sender<Verdict>>,
    ) -> Result<Option<Place>, PublishError> {
        let mut state = self.state();
        if state.closed {
            return Err(PublishError::not_published(Reason::Closed));
        }
        if state.client.is_none() {
            state.client = Some(self.start().map_err(PublishError::not_published)?);
        }
        let State {
            client: Some(client),
            waiting,
            tickets,
            ..
        } = &mut *state
        else {
            return Err(PublishError::not_published(Reason::Closed));
        };
        let report = match waiting.is_empty() {
            true => match offer(client, &mut record, report) {
                Ok(()) => return Ok(None),
                Err((error, report)) if is_full(&error) => report,
                Err((error, report)) if is_code(&error, Code::Fatal) => {
                    // Its thread has not seen it yet. What cannot be sent is not sent twice.
                    *client = self.start().map_err(PublishError::not_published)?;
                    match offer(client, &mut record, report) {
                        Ok(()) => return Ok(None),
                        Err((error, _)) => return Err(error::not_taken(&record.topic, error)),
                    }
                }
                Err((error, _)) => return Err(error::not_taken(&record.topic, error)),
            },
            false => report,
        };
        let ticket = *tickets;
        *tickets += 1;
        waiting.push_back(Waiting {
            ticket,
            record,
            report,
        });
        self.waiting.store(waiting.len(), Ordering::Release);
        Ok(Some(Place {
            line: Arc::clone(self),
            ticket,
        }))
    }

    /// Hands over what waits, as far as there is room.
    pub(crate) fn pump(&self) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state();
        let State {
            client: Some(client),
            waiting,
            ..
        } = &mut *state
        else {
            return;
        };
        while let Some(mut next) = waiting.pop_front() {
            match offer(client, &mut next.record, next.report) {
                Ok(()) => {}
                Err((error, report)) if is_full(&error) => {
                    waiting.push_front(Waiting { report, ..next });
                    break;
                }
                Err((error, report)) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                    // `enter` has refused what the client never takes; it is told all the same.
                    let _ = report.send(Err(code));
                }
            }
        }
        self.waiting.store(waiting.len(), Ordering::Release);
    }

    /// A client with its thread, which lives as long as the line does.
    fn start(self: &Arc<Self>) -> Result<Arc<Client>, TransportError> {
        let reports = Reports {
            line: Arc::downgrade(self),
            status: Arc::clone(&self.status),
        };
        let client = BaseProducer::from_config_and_context(&self.config, reports)
            .map_err(|error| error::transport("making a Kafka producer", error))?;
        let client = Arc::new(client);
        let thread = {
            let (line, client) = (Arc::downgrade(self), Arc::clone(&client));
            std::thread::Builder::new()
                .name("tidings-kafka-producer".into())
                .spawn(move || serve(&line, client))
        };
        thread.map_err(|error| {
            error::config(format!("no thread for the Kafka producer: {error}")).with_source(error)
        })?;
        Ok(client)
    }

    /// Puts a new client in the place of one that cannot go on.
    fn replace(self: &Arc<Self>, old: &Arc<Client>, code: Code, reason: &str) {
        tracing::error!(%code, reason, "the Kafka producer cannot go on: made anew");
        let mut state = self.state();
        if state.client.as_ref().is_some_and(|it| Arc::ptr_eq(it, old)) {
            state.client = self.start().map_or_else(
                |error| {
                    tracing::error!(%error, "no new Kafka producer: the next publish tries again");
                    None
                },
                Some,
            );
        }
    }

    /// Ends the line: what is on its way is waited for, what is left then is purged. Gives back how
    /// many publishes are Unknown for it.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<usize, TransportError> {
        let (done, ended) = oneshot::channel();
        {
            let mut state = self.state();
            let before = std::mem::replace(&mut state.closed, true);
            if before || state.client.is_none() {
                return Ok(0);
            }
            state.closing = Some(Closing {
                until: Instant::now() + deadline,
                done,
            });
        }
        let grace = Duration::from_millis(700);
        match tokio::time::timeout(deadline + grace, ended).await {
            Ok(Ok(unflushed)) => Ok(unflushed),
            Ok(Err(_)) | Err(_) => Err(error::timeout(format!(
                "the Kafka producer did not end within {deadline:?}: {} publishes are Unknown",
                self.in_flight()
            ))),
        }
    }

    fn in_flight(&self) -> i32 {
        let client = self.state().client.clone();
        client.map_or(0, |client| client.in_flight_count())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line; dropping it leaves, and then nothing was sent (P4).
struct Place {
    line: Arc<Line>,
    ticket: u64,
}

impl Place {
    /// Whether it was still in the line.
    fn leave(&self) -> bool {
        let mut state = self.line.state();
        let found = state
            .waiting
            .binary_search_by_key(&self.ticket, |waiting| waiting.ticket);
        let left = found.ok().and_then(|at| state.waiting.remove(at));
        self.line
            .waiting
            .store(state.waiting.len(), Ordering::Release);
        left.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

type Offered = Result<(), (KafkaError, Box<oneshot::Sender<Verdict>>)>;

fn offer(client: &Client, record: &mut Record, report: Box<oneshot::Sender<Verdict>>) -> Offered {
    let mut base: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(&record.topic, report);
    base.key = record.key.as_deref();
    base.payload = record.body.as_deref();
    base.headers = record.headers.take();
    client.send(base).map_err(|(error, base)| {
        record.headers = base.headers;
        (error, base.delivery_opaque)
    })
}

fn is_full(error: &KafkaError) -> bool {
    is_code(error, Code::QueueFull)
}

fn is_code(error: &KafkaError, code: Code) -> bool {
    error.rdkafka_error_code() == Some(code)
}

/// Serves one client until its line is gone, closed, or has another.
fn serve(line: &Weak<Line>, client: Arc<Client>) {
    loop {
        let Some(line) = line.upgrade() else {
            return;
        };
        let idle = line.waiting.load(Ordering::Acquire) == 0;
        let closing = line.state().closing.take();
        if let Some(closing) = closing {
            let unflushed = finish(&line, &client, closing.until);
            line.state().client = None;
            drop(client);
            let _ = closing.done.send(unflushed);
            return;
        }
        if let Some((code, reason)) = client.client().fatal_error() {
            line.replace(&client, code, &reason);
            // Dropped with all it holds, whose reports say that they were purged.
            return;
        }
        line.pump();
        // Not held while it waits: it ends with its last handle.
        drop(line);
        client.poll(Duration::from_millis(if idle { 100 } else { 5 }));
    }
}

/// Waits for what is on its way, and gives up on the rest.
fn finish(line: &Line, client: &Client, until: Instant) -> usize {
    loop {
        line.pump();
        let left = until.saturating_duration_since(Instant::now());
        let empty = line.waiting.load(Ordering::Acquire) == 0;
        if left.is_zero() || (empty && client.in_flight_count() == 0) {
            break;
        }
        // An error says that the slice has passed.
        let _ = client.flush(left.min(Duration::from_millis(50)));
    }
    for waiting in line.state().waiting.drain(..) {
        let _ = waiting.report.send(Err(Code::PurgeQueue));
    }
    line.waiting.store(0, Ordering::Release);
    line.unknown.store(0, Ordering::Release);
    client.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = client.flush(Timeout::After(Duration::from_millis(500))) {
        tracing::warn!(%error, "the Kafka producer kept reports of purged publishes");
    }
    line.unknown.load(Ordering::Acquire) + usize::try_from(client.in_flight_count()).unwrap_or(0)
}
