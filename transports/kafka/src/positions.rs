//! Where a member begins in the partitions it was given (D7): where its group was, else where it was
//! asked to. `auto.offset.reset` decides nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tidings_transport::{Start, Timestamp, is_retry_topic};

use crate::error;
use crate::settle::Partition;

/// Where to begin in one partition.
pub(crate) struct Position {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
    /// The group has never been here: worth a commit, or a restart before the first one would begin
    /// somewhere else.
    pub(crate) is_new: bool,
}

/// Where a group begins in each of these partitions.
///
/// A partition that was added to a topic which the group knows begins with its first record,
/// whatever a new group would do: what was written to it is the group's.
pub(crate) fn resolve<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    start: Start,
    timeout: Duration,
) -> KafkaResult<Vec<Position>> {
    let until = Instant::now() + timeout;
    let committed = patiently(until, |left| {
        let committed = consumer.committed_offsets(partitions.clone(), left)?;
        committed.elements().iter().try_for_each(|it| it.error())?;
        Ok(committed)
    })?;
    let committed = committed.elements();
    let known: HashSet<&str> = committed
        .iter()
        .filter(|it| matches!(it.offset(), Offset::Offset(_)))
        .map(|it| it.topic())
        .collect();
    let mut positions = Vec::with_capacity(committed.len());
    for element in &committed {
        let (topic, partition) = (element.topic(), element.partition());
        let (offset, is_new) = match element.offset() {
            Offset::Offset(offset) => (Offset::Offset(offset), false),
            _ if known.contains(topic) => (Offset::Beginning, true),
            _ => {
                let offset =
                    patiently(until, |left| first(consumer, topic, partition, start, left));
                (offset?, true)
            }
        };
        positions.push(Position {
            topic: topic.to_owned(),
            partition,
            offset,
            is_new,
        });
    }
    Ok(positions)
}

/// Where a new group begins.
fn first<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    start: Start,
    timeout: Duration,
) -> KafkaResult<Offset> {
    let end = || {
        let (_, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
        Ok(Offset::Offset(high))
    };
    match start {
        _ if is_retry_topic(topic) => Ok(Offset::Beginning),
        Start::Earliest => Ok(Offset::Beginning),
        Start::Latest => end(),
        // Nothing may be that young.
        Start::At(moment) => match at(consumer, topic, partition, moment, timeout)? {
            Some(offset) => Ok(Offset::Offset(offset)),
            None => end(),
        },
        Start::Offset(offset) => {
            let (_, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
            if offset > high {
                tracing::warn!(
                    topic,
                    partition,
                    offset,
                    end = high,
                    "a new group was to start at an offset that the partition does not have yet: it starts at its end"
                );
            }
            Ok(Offset::Offset(offset.min(high)))
        }
    }
}

/// Where the first record at or after a moment is, if there is one.
pub(crate) fn at<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    moment: Timestamp,
    timeout: Duration,
) -> KafkaResult<Option<i64>> {
    let mut asked = TopicPartitionList::new();
    // Kafka counts in milliseconds; what lies within one is at or after the moment.
    let millis = moment.as_micros().div_euclid(1_000);
    asked.add_partition_offset(topic, partition, Offset::Offset(millis))?;
    let found = consumer.offsets_for_times(asked, timeout)?;
    let found = found.elements().first().map(|it| (it.error(), it.offset()));
    match found {
        Some((Ok(()), Offset::Offset(offset))) => Ok(Some(offset)),
        Some((Err(error), _)) => Err(error),
        _ => Ok(None),
    }
}

/// Which records are not there any more, of partitions whose offset is out of range: from where the
/// member goes on to what is there now.
pub(crate) fn gone<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Arc<Partition>],
    timeout: Duration,
) -> String {
    let until = Instant::now() + timeout;
    let of = |it: &Arc<Partition>| {
        let (at, place) = (it.position()?, format!("{} {}", it.topic, it.number));
        let left = until.saturating_duration_since(Instant::now());
        let (first, end) = consumer.fetch_watermarks(&it.topic, it.number, left).ok()?;
        if at < first {
            Some(format!("{place}: records {at} to {} are gone", first - 1))
        } else if at > end {
            Some(format!(
                "{place}: it ends at {end}, before record {at} where the group goes on; the topic was \
                 made anew, or cut"
            ))
        } else {
            None
        }
    };
    let gone: Vec<String> = partitions.iter().filter_map(of).collect();
    match gone.is_empty() {
        true => String::from("the broker does not say which"),
        false => gone.join("; "),
    }
}

/// Asks again while the answer is that a coordinator or leader is not there yet.
pub(crate) fn patiently<T>(
    until: Instant,
    mut ask: impl FnMut(Duration) -> KafkaResult<T>,
) -> Result<T, KafkaError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match ask(left.max(Duration::from_millis(100))) {
            Err(error)
                if error.rdkafka_error_code().is_some_and(error::passes)
                    && left > Duration::from_millis(100) =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            answered => return answered,
        }
    }
}
