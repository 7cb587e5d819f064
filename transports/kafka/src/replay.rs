//! Replays: what is there is read once more, with a cursor of its own (Y1). No group is joined, and
//! nothing is committed.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings_transport::{
    ErrorKind, Lag, Name, Received, Start, Subscribe, Timestamp, TransportError,
};

use crate::admin::Admin;
use crate::consume::{Leave, Member};
use crate::poll::{BATCH, IDLE, PAUSED, failed, flow, supervise};
use crate::settle::{Partition, Wait};
use crate::status::{Asking, Status};
use crate::{error, headers, positions};

/// What is read of one partition: from an offset to before another.
#[derive(Debug)]
pub(crate) struct Range {
    topic: Name,
    partition: i32,
    begin: i64,
    end: i64,
}

impl Admin {
    /// What a replay would read. Blocks.
    pub(crate) fn ranges(
        &self,
        subscribe: &Subscribe,
        until: Option<Timestamp>,
    ) -> Result<Vec<Range>, TransportError> {
        let doing = format!("finding the range of replay {:?}", subscribe.group.as_str());
        let failed = |error| error::transport(&doing, error);
        let consumer = self.browser()?;
        let timeout = self.patience();
        let metadata = consumer.fetch_metadata(None, timeout).map_err(failed)?;
        let topics = metadata.topics().iter();
        let topics = topics.filter(|topic| subscribe.topics.contains(topic.name()));
        let partitions =
            topics.flat_map(|topic| topic.partitions().iter().map(move |it| (topic.name(), it)));
        let mut ranges = Vec::new();
        let mut longest = 0;
        for (topic, found) in partitions {
            let partition = found.id();
            // What cannot be read now must not be missing in silence.
            if found.leader() < 0 {
                return Err(TransportError::new(
                    ErrorKind::Connection,
                    format!("{doing}: partition {partition} of topic {topic:?} has no leader now"),
                ));
            }
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, timeout)
                .map_err(failed)?;
            longest = longest.max(high);
            let at = |moment| positions::at(&consumer, topic, partition, moment, timeout);
            let begin = match subscribe.start {
                Start::Earliest => low,
                Start::Latest => high,
                Start::At(moment) => at(moment).map_err(failed)?.unwrap_or(high),
                Start::Offset(offset) if offset < low => {
                    return Err(TransportError::new(
                        ErrorKind::DataLoss,
                        format!(
                            "{doing}: offset {offset} of topic {topic:?}, partition {partition}, is \
                             gone, retention has passed it: the oldest that is left is {low}"
                        ),
                    ));
                }
                Start::Offset(offset) => offset.min(high),
            };
            let end = match until {
                Some(moment) => at(moment).map_err(failed)?.unwrap_or(high),
                None => high,
            };
            ranges.push(Range {
                topic: Name::from(topic),
                partition,
                begin,
                end: end.max(begin),
            });
        }
        if let Start::Offset(offset) = subscribe.start
            && offset > longest
        {
            return Err(error::config(format!(
                "{doing}: offset {offset} lies in the future: the longest of its partitions ends at \
                 {longest}"
            )));
        }
        Ok(ranges)
    }
}

/// Topics read at once: each takes a client, with its threads and its prefetch.
const AT_ONCE: usize = 8;

/// Starts the thread of a replay.
pub(crate) fn start(
    member: &Arc<Member>,
    orders: mpsc::Receiver<Leave>,
    ranges: Vec<Range>,
    client: &ClientConfig,
    status: &Arc<Status>,
) -> Result<(), TransportError> {
    let mut waiting: BTreeMap<Name, Vec<Unread>> = BTreeMap::new();
    for range in ranges {
        let (window, mode) = (member.subscribe.window, member.subscribe.mode);
        let topic = range.topic.clone();
        let partition = Partition::new(topic, range.partition, window, mode, &member.bell);
        partition.begin_at(range.begin);
        partition.ends_at(range.end);
        member.assign(Arc::clone(&partition));
        if range.begin < range.end {
            waiting.entry(range.topic).or_default().push(Unread {
                partition,
                begin: range.begin,
                end: range.end,
            });
        }
    }
    let mut replay = Replay {
        member: Arc::clone(member),
        orders,
        client: client.clone(),
        status: Arc::clone(status),
        waiting,
        readers: Vec::new(),
    };
    replay.open()?;
    let member = Arc::clone(member);
    let thread = std::thread::Builder::new()
        .name("tidings-kafka-replay".into())
        .spawn(move || {
            supervise(&member, || {
                let told = replay.run();
                // Nothing is committed, and to drop the clients takes a while.
                let _ = told.committed.send(Ok(()));
                drop(replay);
                told.left
            });
        });
    thread.map(drop).map_err(|error| {
        error::config(format!("no thread for a Kafka replay: {error}")).with_source(error)
    })
}

/// What a member that replays has to do yet: it names ends where [`Admin::lag`] names those of logs.
pub(crate) fn lag(member: &Member) -> Vec<Lag> {
    let partitions = member.partitions().1;
    let lag = |it: &Arc<Partition>| Lag {
        topic: it.topic.clone(),
        partition: it.number,
        end: u64::try_from(it.end_of_replay().unwrap_or_default()).unwrap_or_default(),
        settled: u64::try_from(it.mark().unwrap_or_default()).unwrap_or_default(),
    };
    partitions.iter().map(lag).collect()
}

struct Replay {
    member: Arc<Member>,
    orders: mpsc::Receiver<Leave>,
    client: ClientConfig,
    status: Arc<Status>,
    // Topics that nobody reads yet.
    waiting: BTreeMap<Name, Vec<Unread>>,
    readers: Vec<Reader>,
}

/// One topic. A client of its own, because the word that a partition has come to its end names no
/// topic, and nothing else tells where the last record was compacted away.
struct Reader {
    topic: Name,
    consumer: BaseConsumer<Asking>,
    records: headers::Reader,
    polled: Vec<Received>,
    unread: Vec<Unread>,
}

/// A partition that is not read to its end, which is behind the last offset.
struct Unread {
    partition: Arc<Partition>,
    begin: i64,
    end: i64,
}

impl Replay {
    /// Begins to read what waits, as far as it may.
    fn open(&mut self) -> Result<(), TransportError> {
        while self.readers.len() < AT_ONCE
            && let Some((topic, unread)) = self.waiting.pop_first()
        {
            let context = Asking(Arc::clone(&self.status));
            let consumer = BaseConsumer::from_config_and_context(&self.client, context)
                .map_err(|error| error::transport("making a consumer of a replay", error))?;
            let reader = Reader {
                topic,
                consumer,
                records: headers::Reader::default(),
                polled: Vec::new(),
                unread,
            };
            reader.begin()?;
            self.readers.push(reader);
        }
        Ok(())
    }

    /// Until it is told to end.
    fn run(&mut self) -> Leave {
        loop {
            // Never disconnected: the member, which this thread shares, has the other end.
            if let Ok(told) = self.orders.try_recv() {
                return told;
            }
            let partitions = self.member.partitions().1;
            if self.member.is_ended() {
                partitions.iter().for_each(|it| it.stop());
            }
            let mut polled = 0;
            for reader in &mut self.readers {
                polled += reader.read(Duration::ZERO, &self.member, &self.status);
            }
            self.readers.retain(|it| !it.unread.is_empty());
            if let Err(error) = self.open() {
                self.member.end(Err(error));
            }
            self.member.bell.ready.notify_one();
            let mut paused = false;
            for reader in &self.readers {
                paused |= flow(&reader.consumer, &reader.partitions(), &self.member.bell);
            }
            if polled > 0 {
                continue;
            }
            if let Some(reader) = self.readers.first_mut() {
                let wait = if paused { PAUSED } else { LOOK };
                reader.read(wait, &self.member, &self.status);
                continue;
            }
            let settled = || partitions.iter().all(|it| it.is_idle());
            if !settled() {
                self.member.bell.wait(Wait::Settled, IDLE, settled);
                continue;
            }
            if !self.member.is_ended() {
                self.member.replayed();
            }
            // What is left is the word to end.
            std::thread::sleep(IDLE);
        }
    }
}

/// How long one topic is waited for while others may have something.
const LOOK: Duration = Duration::from_millis(10);

impl Reader {
    fn begin(&self) -> Result<(), TransportError> {
        let failed =
            |error| error::transport(&format!("replaying topic {:?}", self.topic.as_str()), error);
        let mut begin = TopicPartitionList::new();
        for unread in &self.unread {
            let offset = Offset::Offset(unread.begin);
            begin
                .add_partition_offset(&self.topic, unread.partition.number, offset)
                .map_err(failed)?;
        }
        self.consumer.assign(&begin).map_err(failed)
    }

    fn partitions(&self) -> Vec<Arc<Partition>> {
        self.unread
            .iter()
            .map(|it| Arc::clone(&it.partition))
            .collect()
    }

    /// One batch, or nothing for so long; how many records there were.
    fn read(&mut self, time: Duration, member: &Member, status: &Status) -> usize {
        let most = member.subscribe.window.clamp(1, BATCH);
        let mut wait = time;
        for count in 0..most {
            match self.consumer.poll(wait) {
                None => return count,
                Some(Ok(message)) => {
                    let (number, offset) = (message.partition(), message.offset());
                    let unread = self.unread.iter();
                    let Some(Unread { partition, end, .. }) =
                        unread.into_iter().find(|it| it.partition.number == number)
                    else {
                        continue;
                    };
                    let last = offset + 1 >= *end;
                    if offset < *end {
                        let inbound = self.records.read(&message, &partition.topic);
                        let index = offset.cast_unsigned();
                        self.polled.push(Received::queued(inbound, index));
                        partition.take_in(&mut self.polled);
                    }
                    if last {
                        self.reached(number);
                    }
                }
                // What was last may be gone, compacted away.
                Some(Err(KafkaError::PartitionEOF(number))) => self.reached(number),
                // Deleted meanwhile: nothing more will come.
                Some(Err(error)) if is_missing(&error) => member.end(Err(error::transport(
                    &format!("replaying topic {:?}", self.topic.as_str()),
                    error,
                ))),
                Some(Err(error)) => failed(member, status, error, || {
                    String::from("begin the replay behind what retention has passed")
                }),
            }
            wait = Duration::ZERO;
        }
        most
    }

    fn reached(&mut self, number: i32) {
        let reached = self
            .unread
            .extract_if(.., |it| it.partition.number == number);
        reached.for_each(|it| it.partition.read_to(it.end));
    }
}

fn is_missing(error: &KafkaError) -> bool {
    let kind = error.rdkafka_error_code().map(error::kind);
    kind == Some(ErrorKind::Missing)
}
