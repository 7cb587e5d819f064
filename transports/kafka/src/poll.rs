//! The thread of a member: it polls whatever handlers do (trap 8), takes part in rebalances, and is
//! the only one that stores and commits (traps 1 to 5).
//!
//! It polls one queue and parts the records itself. librdkafka could hand out a queue per partition
//! (trap 10), but then rebalances wait until somebody polls the main queue beside them, a wake-up that
//! is lost stalls one of them, and each has the byte limit of all: so it is never asked to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tidings_transport::{ErrorKind, Mode, Received, TransportError};
use tokio::sync::oneshot;

use crate::consume::{Leave, Member};
use crate::headers::Reader;
use crate::rebalance::{Context, commit, store};
use crate::settle::{Bell, Partition, Wait};
use crate::status::Status;
use crate::{KafkaConfig, error, positions, topic};

/// Messages taken in before who receives is told.
pub(crate) const BATCH: usize = 256;

/// How long a full buffer is waited for before its partition is paused: to pause throws away what
/// was fetched (trap 9), which is not worth it for a moment.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long one poll waits, with and without a paused partition to look after.
pub(crate) const IDLE: Duration = Duration::from_millis(100);
pub(crate) const PAUSED: Duration = Duration::from_millis(5);

/// How long a group may take to hand partitions on before a member that has none says so.
const SETTLES: Duration = Duration::from_secs(10);

/// Starts the thread of a member.
pub(crate) fn start(
    member: &Arc<Member>,
    orders: mpsc::Receiver<Leave>,
    client: &ClientConfig,
    config: &KafkaConfig,
    status: &Arc<Status>,
) -> Result<(), TransportError> {
    let group = &member.subscribe.group;
    let context = Context {
        member: Arc::clone(member),
        status: Arc::clone(status),
        revoke_deadline: config.revoke_deadline,
        question: config.connect_timeout,
        joined: AtomicBool::new(false),
    };
    let failed = |error| error::transport(&format!("making a consumer of group {group:?}"), error);
    let consumer = BaseConsumer::from_config_and_context(client, context).map_err(failed)?;
    let topics = topic::subscription(&member.subscribe.topics);
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| {
        error::transport(&format!("subscribing group {group:?} to {topics:?}"), error)
    })?;
    let poller = Poller {
        consumer,
        member: Arc::clone(member),
        orders,
        commit_interval: config.commit_interval,
        commit_every: config.commit_every,
        committed: Instant::now(),
        version: 0,
        partitions: Vec::new(),
        reader: Reader::default(),
        polled: Vec::with_capacity(BATCH),
        idle: Idle::No,
    };
    let thread = std::thread::Builder::new()
        .name("tidings-kafka-consumer".into())
        .spawn(move || poller.live());
    thread.map(drop).map_err(|error| {
        error::config(format!("no thread for a Kafka consumer: {error}")).with_source(error)
    })
}

/// Runs a member's thread to its end, which its receiver sees however it came.
pub(crate) fn supervise(member: &Member, run: impl FnOnce() -> oneshot::Sender<()>) {
    let ended = catch_unwind(AssertUnwindSafe(run));
    member.gone();
    match ended {
        Ok(left) => {
            member.end(Ok(()));
            let _ = left.send(());
        }
        Err(_) => {
            tracing::error!(group = %member.subscribe.group, "the thread of a Kafka consumer panicked");
            member.end(Err(TransportError::new(
                ErrorKind::Other,
                "the thread of a Kafka consumer panicked: the log says where",
            )));
        }
    }
}

struct Poller {
    consumer: BaseConsumer<Context>,
    member: Arc<Member>,
    orders: mpsc::Receiver<Leave>,
    commit_interval: Duration,
    commit_every: usize,
    committed: Instant,
    // What the member has, as of this version.
    version: u64,
    partitions: Vec<Arc<Partition>>,
    reader: Reader,
    // Of one partition, polled and not taken in yet.
    polled: Vec<Received>,
    idle: Idle,
}

/// Whether the member has nothing to do.
enum Idle {
    No,
    Since(Instant),
    Said,
}

impl Poller {
    fn live(mut self) {
        let member = Arc::clone(&self.member);
        supervise(&member, || {
            let told = self.run();
            let committed = self.leave();
            if let Err(error) = &committed {
                tracing::warn!(group = %member.subscribe.group, %error, "a Kafka consumer leaves without a commit");
            }
            // Who told us may have gone.
            let _ = told.committed.send(committed);
            // The client leaves its group as it is dropped. That takes 5 s where the group is in the
            // middle of a rebalance: a broker answers a connection's requests one after the other,
            // and the member's own JoinGroup is waiting.
            drop(self);
            told.left
        });
    }

    /// Until it is told to leave.
    fn run(&mut self) -> Leave {
        loop {
            // Never disconnected: the member, which this thread shares, has the other end.
            if let Ok(told) = self.orders.try_recv() {
                return told;
            }
            if self.member.is_ended() {
                // Its receiver has been told, and will tell us to leave; until then it is polled,
                // so that the group sees a live member that hands back what it holds.
                self.partitions().iter().for_each(|it| it.stop());
            }
            self.say_if_idle();
            self.commit_if_due();
            let partitions = self.partitions().to_vec();
            let paused = flow(&self.consumer, &partitions, &self.member.bell);
            self.poll(if paused { PAUSED } else { IDLE });
        }
    }

    /// Says once that there is nothing to do for this member. Not at once: a member that joins gets
    /// nothing until another has given something back.
    fn say_if_idle(&mut self) {
        let joined = self.consumer.context().joined.load(Ordering::Acquire);
        let idle = joined && self.partitions().is_empty();
        match &mut self.idle {
            Idle::Said => {}
            _ if !idle => self.idle = Idle::No,
            Idle::No => self.idle = Idle::Since(Instant::now()),
            Idle::Since(since) if since.elapsed() < SETTLES => {}
            Idle::Since(_) => {
                self.idle = Idle::Said;
                tracing::info!(
                    group = %self.member.subscribe.group,
                    "this member has no partition: the group has more members than its topics have \
                     partitions; it takes over when another leaves"
                );
            }
        }
    }

    fn partitions(&mut self) -> &[Arc<Partition>] {
        if self.version != self.member.version() {
            (self.version, self.partitions) = self.member.partitions();
        }
        &self.partitions
    }

    /// One batch, or nothing for so long.
    fn poll(&mut self, time: Duration) {
        let most = self.member.subscribe.window.clamp(1, BATCH);
        let mut wait = time;
        let mut from: Option<Arc<Partition>> = None;
        for _ in 0..most {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let place = (message.topic(), message.partition());
                    let here = |it: &Arc<Partition>| it.is_at(place);
                    if !from.as_ref().is_some_and(here) {
                        if let Some(from) = from {
                            from.take_in(&mut self.polled);
                        }
                        if !self.partitions.iter().any(here) {
                            // It was assigned within this poll.
                            (self.version, self.partitions) = self.member.partitions();
                        }
                        // One that was revoked between its fetch and here is its next owner's.
                        from = self.partitions.iter().find(|it| here(it)).cloned();
                    }
                    if let Some(from) = &from {
                        let inbound = self.reader.read(&message, &from.topic);
                        let index = message.offset().cast_unsigned();
                        self.polled.push(Received::queued(inbound, index));
                    }
                }
                Some(Err(error)) => {
                    let Context {
                        status, question, ..
                    } = &**self.consumer.context();
                    failed(&self.member, status, error, || {
                        let (_, partitions) = self.member.partitions();
                        let gone = positions::gone(&self.consumer, &partitions, *question);
                        format!("decide where the group goes on and move its offsets there: {gone}")
                    });
                }
            }
            wait = Duration::ZERO;
        }
        if let Some(from) = from {
            from.take_in(&mut self.polled);
        }
        // Only for who waits for it: what is taken over and not handed over is lost with the partition.
        if self.member.subscribe.mode == Mode::AtMostOnce
            && self.member.bell.wanted.load(Ordering::Acquire)
            && !self.member.is_ended()
        {
            self.take_over();
        }
        self.member.bell.ready.notify_one();
    }

    /// D9: committed first, then handed over. What cannot be committed is not handed over, and comes
    /// again to who opens the group next.
    fn take_over(&mut self) {
        let mut marks = TopicPartitionList::new();
        let mut taken = Vec::new();
        for partition in self.partitions() {
            if let Some((count, next)) = partition.to_take_over() {
                let next = Offset::Offset(next);
                // A valid offset is never refused.
                let _ = marks.add_partition_offset(&partition.topic, partition.number, next);
                taken.push((Arc::clone(partition), count));
            }
        }
        if taken.is_empty() {
            return;
        }
        // A commit of named offsets may move a group back (trap 3); these only go on.
        match self.consumer.commit(&marks, CommitMode::Sync) {
            Ok(()) => taken
                .iter()
                .for_each(|(partition, count)| partition.take_over(*count)),
            Err(error) => self.member.end(Err(error::transport(
                "committing what an at-most-once group takes over",
                error,
            ))),
        }
    }

    fn commit_if_due(&mut self) {
        // Due also with nothing new: of an asynchronous commit that failed nobody is told, as rdkafka
        // sets no callback that librdkafka would call. What it has not carried is still stored there
        // above what is committed; where nothing is, no request is sent.
        let finals = self.member.bell.finals.load(Ordering::Acquire);
        let due = self.committed.elapsed() >= self.commit_interval;
        if !due && finals < self.commit_every {
            return;
        }
        self.member.bell.finals.store(0, Ordering::Release);
        self.committed = Instant::now();
        let partitions = self.partitions().to_vec();
        store(&self.consumer, &partitions);
        if let Err(error) = commit(&self.consumer, CommitMode::Async) {
            self.consumer.context().commit_failed(&error);
        }
    }

    /// Commits what is final, for the last time.
    fn leave(&mut self) -> Result<(), TransportError> {
        let partitions = self.partitions().to_vec();
        partitions.iter().for_each(|it| it.stop());
        store(&self.consumer, &partitions);
        let committed = commit(&self.consumer, CommitMode::Sync);
        for partition in &partitions {
            self.member.revoke(partition);
        }
        self.consumer.unsubscribe();
        committed
            .map_err(|error| error::transport("committing what is final; it may come again", error))
    }
}

/// What a client's error means for its member; `fix` is asked about records that are gone.
pub(crate) fn failed(
    member: &Member,
    status: &Status,
    error: KafkaError,
    fix: impl FnOnce() -> String,
) {
    let group = &member.subscribe.group;
    let doing = format!("receiving for group {:?}", group.as_str());
    let Some(code) = error.rdkafka_error_code() else {
        return tracing::warn!(%group, %error, "a Kafka consumer reports an error");
    };
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    match error::kind(code) {
        ErrorKind::DataLoss => {
            member.end(Err(TransportError::new(
                ErrorKind::DataLoss,
                format!(
                    "{doing}: the records that come next are gone; {}: {error}",
                    fix()
                ),
            )
            .with_source(error)));
        }
        // Settings that the group or its broker refuses: trying again would be the same again.
        ErrorKind::Forbidden | ErrorKind::Fenced | ErrorKind::Auth | ErrorKind::Config => {
            member.end(Err(error::transport(&doing, error)));
        }
        _ if fatal => member.end(Err(error::transport(&doing, error))),
        _ => status.failed(&error, "while receiving"),
    }
}

/// Pauses what is full and lets go on what has room; whether anything waits for room then.
pub(crate) fn flow<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Arc<Partition>],
    bell: &Bell,
) -> bool {
    if partitions.iter().any(|it| it.is_clogged()) {
        let until = Instant::now() + PATIENCE;
        let room = || partitions.iter().all(|it| it.has_room());
        bell.ready.notify_one();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || room() {
                break;
            }
            bell.wait(Wait::Room, left, room);
        }
    }
    let (mut full, mut free) = (TopicPartitionList::new(), TopicPartitionList::new());
    for partition in partitions {
        let Some(pauses) = partition.pause() else {
            continue;
        };
        tracing::debug!(
            topic = %partition.topic,
            partition = partition.number,
            "{}",
            if pauses { "paused: as much waits as may" } else { "goes on: there is room again" }
        );
        let list = if pauses { &mut full } else { &mut free };
        list.add_partition(&partition.topic, partition.number);
    }
    let changed = [
        (full.count() > 0).then(|| consumer.pause(&full)),
        (free.count() > 0).then(|| consumer.resume(&free)),
    ];
    for error in changed.into_iter().flatten().filter_map(Result::err) {
        tracing::warn!(%error, "a Kafka partition could not be paused or resumed");
    }
    partitions.iter().any(|it| it.is_paused() || it.holds())
}
