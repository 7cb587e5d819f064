//! Reads a compacted topic without a group: of each key the newest record counts, and a tombstone
//! hides it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tidings_transport::{Browser, Entry, ErrorKind, Name, PublishError, Reason, TransportError};

use crate::admin::Admin;
use crate::positions::patiently;
use crate::publish::{Line, Record};
use crate::status::Asking;
use crate::{error, headers};

/// Entries read ahead.
const AHEAD: usize = 64;

/// Reads the dead letters of a group, or another compacted topic.
///
/// It shows what was there when it was opened, oldest first within a partition; a topic that this
/// library made for dead letters has one. It holds the keys' places in memory, some hundred bytes
/// each, and no more than a few entries.
#[derive(Debug)]
pub struct KafkaBrowser {
    line: Arc<Line>,
    topic: Name,
    // `None` while it reads, and at the end.
    reader: Option<Reader>,
    ready: VecDeque<Entry>,
}

impl KafkaBrowser {
    pub(crate) async fn open(
        admin: &Arc<Admin>,
        line: &Arc<Line>,
        topic: &Name,
    ) -> Result<Self, TransportError> {
        let name = topic.clone();
        let reader = admin.ask(move |admin| Reader::open(admin, &name)).await?;
        Ok(Self {
            line: Arc::clone(line),
            topic: topic.clone(),
            reader: Some(reader),
            ready: VecDeque::new(),
        })
    }
}

impl Browser for KafkaBrowser {
    /// As the trait says; a future that is dropped ends the browse early.
    async fn next(&mut self) -> Result<Option<Entry>, TransportError> {
        while self.ready.is_empty() {
            let Some(mut reader) = self.reader.take() else {
                return Ok(None);
            };
            let (reader, entries) = admin_thread(move || {
                let entries = reader.read();
                (reader, entries)
            })
            .await?;
            let entries = entries?;
            if !entries.is_empty() {
                self.reader = Some(reader);
            }
            self.ready.extend(entries);
        }
        Ok(self.ready.pop_front())
    }

    async fn remove(&mut self, entry: &Entry) -> Result<(), TransportError> {
        let Some(key) = entry.message.key.clone() else {
            return Err(error::config(format!(
                "entry {} of topic {:?} has no key, so nothing can replace it",
                entry.token, self.topic
            )));
        };
        let removed = self
            .line
            .publish(Record::tombstone(self.topic.clone(), key))
            .await;
        removed.map(drop).map_err(|error: PublishError| {
            let unknown = error.is_unknown();
            match error.into_reason() {
                Reason::Transport(error) => error,
                reason => TransportError::new(
                    if unknown {
                        ErrorKind::Timeout
                    } else {
                        ErrorKind::Other
                    },
                    format!("removing entry {}: {reason}", entry.token),
                ),
            }
        })
    }
}

async fn admin_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TransportError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        TransportError::new(ErrorKind::Other, "reading a Kafka topic did not end")
            .with_source(error)
    })
}

type Place = (i32, i64);

struct Reader {
    consumer: BaseConsumer<Asking>,
    topic: Name,
    // What is yet to be read of each partition: the offset behind its last record.
    ends: HashMap<i32, i64>,
    // Where the newest record of each key is.
    newest: HashSet<Place>,
    patience: Duration,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("topic", &self.topic)
            .field("entries", &self.newest.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Looks through the whole topic, and goes back to its beginning.
    fn open(admin: &Admin, topic: &Name) -> Result<Self, TransportError> {
        let found = admin.topics()?;
        let partitions = *found.get(topic.as_str()).ok_or_else(|| {
            TransportError::new(
                ErrorKind::Missing,
                format!("topic {topic:?} does not exist: declare its group first"),
            )
        })?;
        let mut reader = Self {
            consumer: admin.browser()?,
            topic: topic.clone(),
            ends: HashMap::new(),
            newest: HashSet::new(),
            patience: admin.patience(),
        };
        let mut ends = HashMap::new();
        for partition in 0..partitions {
            // A partition may be without a leader for a moment.
            let until = Instant::now() + reader.patience;
            let (low, high) = patiently(until, |left| {
                reader.consumer.fetch_watermarks(topic, partition, left)
            })
            .map_err(|error| reader.failed(error))?;
            if low < high {
                ends.insert(partition, high);
            }
        }
        reader.rewind(ends.clone())?;
        let mut newest: HashMap<Bytes, (Place, bool)> = HashMap::new();
        while reader.one(|message| {
            let key = message.key().unwrap_or_default();
            let place = (message.partition(), message.offset());
            let hides = message.payload().is_none();
            newest.insert(Bytes::copy_from_slice(key), (place, hides));
        })? {}
        reader.newest = newest
            .into_values()
            .filter_map(|(place, hides)| (!hides).then_some(place))
            .collect();
        reader.rewind(ends)?;
        Ok(reader)
    }

    fn rewind(&mut self, ends: HashMap<i32, i64>) -> Result<(), TransportError> {
        let mut all = TopicPartitionList::new();
        for partition in ends.keys() {
            all.add_partition_offset(&self.topic, *partition, Offset::Beginning)
                .map_err(|error| self.failed(error))?;
        }
        self.ends = ends;
        self.consumer
            .assign(&all)
            .map_err(|error| self.failed(error))
    }

    /// The next entries; none at the end.
    fn read(&mut self) -> Result<Vec<Entry>, TransportError> {
        let mut entries = Vec::new();
        let mut copier = headers::Reader::default();
        let newest = std::mem::take(&mut self.newest);
        let topic = self.topic.clone();
        while entries.len() < AHEAD
            && !newest.is_empty()
            && self.one(|message| {
                let (partition, offset) = (message.partition(), message.offset());
                if newest.contains(&(partition, offset)) {
                    entries.push(Entry {
                        token: offset.cast_unsigned(),
                        message: copier.read(message, &topic),
                    });
                }
            })?
        {}
        self.newest = newest;
        Ok(entries)
    }

    /// One record, of those that were there at the opening; whether there was one.
    fn one(&mut self, mut see: impl FnMut(&BorrowedMessage<'_>)) -> Result<bool, TransportError> {
        let until = Instant::now() + self.patience;
        while !self.ends.is_empty() {
            let (partition, behind) = match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let end = self.ends.get(&partition).copied().unwrap_or_default();
                    if offset < end {
                        see(&message);
                        if offset + 1 >= end {
                            self.ends.remove(&partition);
                        }
                        return Ok(true);
                    }
                    (partition, true)
                }
                // What is last may be gone, compacted away.
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, true),
                Some(Err(error)) if !error.rdkafka_error_code().is_some_and(error::passes) => {
                    return Err(self.failed(error));
                }
                Some(Err(_)) | None => (0, false),
            };
            if behind {
                self.ends.remove(&partition);
            } else if Instant::now() >= until {
                return Err(error::timeout(format!(
                    "topic {:?} could not be read within {:?}",
                    self.topic.as_str(),
                    self.patience
                )));
            }
        }
        Ok(false)
    }

    fn failed(&self, error: KafkaError) -> TransportError {
        error::transport(&format!("reading topic {:?}", self.topic.as_str()), error)
    }
}
