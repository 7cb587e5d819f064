//! Rebalances: what librdkafka calls on a member's thread, within `poll` (trap 5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tidings_transport::Name;

use crate::consume::Member;
use crate::settle::{Partition, Wait};
use crate::status::Status;
use crate::{error, positions};

/// What librdkafka calls on the member's thread, within `poll` (trap 5).
pub(crate) struct Context {
    pub(crate) member: Arc<Member>,
    pub(crate) status: Arc<Status>,
    pub(crate) revoke_deadline: Duration,
    pub(crate) question: Duration,
    // Whether the group has ever said what this member gets.
    pub(crate) joined: AtomicBool,
}

impl Context {
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let subscribe = &self.member.subscribe;
        let resolved = positions::resolve(consumer, partitions, subscribe.start, self.question)
            .and_then(|positions| {
                let (mut begin, mut new) = (TopicPartitionList::new(), TopicPartitionList::new());
                for it in &positions {
                    begin.add_partition_offset(&it.topic, it.partition, it.offset)?;
                    if it.is_new && matches!(it.offset, Offset::Offset(_)) {
                        new.add_partition_offset(&it.topic, it.partition, it.offset)?;
                    }
                }
                match consumer.rebalance_protocol() {
                    RebalanceProtocol::Cooperative => consumer.incremental_assign(&begin)?,
                    RebalanceProtocol::Eager | RebalanceProtocol::None => {
                        consumer.assign(&begin)?
                    }
                }
                if new.count() > 0 {
                    consumer.commit(&new, CommitMode::Async)?;
                }
                Ok(positions)
            });
        match resolved {
            Ok(positions) => {
                for it in positions {
                    let partition = Partition::new(
                        Name::from(it.topic),
                        it.partition,
                        subscribe.window,
                        subscribe.mode,
                        &self.member.bell,
                    );
                    if let Offset::Offset(offset) = it.offset {
                        partition.begin_at(offset);
                    }
                    self.member.assign(partition);
                }
                self.status.connected();
                self.joined.store(true, Ordering::Release);
            }
            Err(error) => self.member.end(Err(error::transport(
                &format!("finding where group {:?} goes on", subscribe.group.as_str()),
                error,
            ))),
        }
    }

    /// Hands over no more, tells handlers, waits a while for what is out, commits, and lets go. What
    /// is lost already is neither waited for nor committed (D4).
    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let mine: Vec<_> = self
            .member
            .partitions()
            .1
            .into_iter()
            .filter(|it| partitions.find_partition(&it.topic, it.number).is_some())
            .collect();
        mine.iter().for_each(|it| it.stop());
        if !consumer.assignment_lost() {
            let until = Instant::now() + self.revoke_deadline;
            let settled = || mine.iter().all(|it| it.unsettled() == 0);
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || settled() {
                    break;
                }
                self.member.bell.wait(Wait::Settled, left, settled);
            }
            store(consumer, &mine);
            if let Err(error) = commit(consumer, CommitMode::Sync) {
                self.commit_failed(&error);
            }
        }
        self.unpause(consumer, &mine);
        mine.iter().for_each(|it| self.member.revoke(it));
        let let_go = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(error) = let_go {
            tracing::warn!(%error, "revoked Kafka partitions could not be let go");
        }
    }

    /// librdkafka keeps a partition paused that was paused as it was taken away, and it would come back
    /// so (trap 9). Here and not as it comes back: to resume one that is not paused drops what was
    /// fetched for it and is not polled yet.
    ///
    /// Source: `rd_kafka_toppar_pause_resume` in librdkafka 2.12, which raises the version first.
    fn unpause(&self, consumer: &BaseConsumer<Self>, partitions: &[Arc<Partition>]) {
        let mut paused = TopicPartitionList::new();
        for partition in partitions.iter().filter(|it| it.is_paused()) {
            paused.add_partition(&partition.topic, partition.number);
        }
        if paused.count() > 0
            && let Err(error) = consumer.resume(&paused)
        {
            tracing::warn!(%error, "Kafka partitions that are given back could not be resumed");
        }
    }

    /// The next commit carries it.
    pub(crate) fn commit_failed(&self, error: &KafkaError) {
        tracing::warn!(group = %self.member.subscribe.group, %error, "a Kafka commit failed");
        self.member.bell.finals.fetch_add(1, Ordering::AcqRel);
    }
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = self.status.read_statistics(statistics) {
            self.member.say_lag(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.status.failed(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assign(consumer, partitions);
            }
            _ => self.revoke(consumer, partitions),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(Code::NoOffset)) => {}
            Err(error) => self.commit_failed(&error),
        }
    }
}

/// Stores the marks that moved: the next offset of each, by one call only (trap 2).
pub(crate) fn store(consumer: &BaseConsumer<Context>, partitions: &[Arc<Partition>]) {
    let mut marks = TopicPartitionList::new();
    for partition in partitions {
        if let Some(next) = partition.to_store() {
            let next = Offset::Offset(next);
            // A valid offset is never refused.
            let _ = marks.add_partition_offset(&partition.topic, partition.number, next);
        }
    }
    if marks.count() > 0
        && let Err(error) = consumer.store_offsets(&marks)
    {
        // Revoked meanwhile (trap 4): it is somebody else's now.
        tracing::debug!(%error, "offsets of a partition that was lost were not stored");
    }
}

/// Commits what is stored; that nothing is, is no error.
pub(crate) fn commit(consumer: &BaseConsumer<Context>, mode: CommitMode) -> KafkaResult<()> {
    match consumer.commit_consumer_state(mode) {
        Err(KafkaError::ConsumerCommit(Code::NoOffset)) => Ok(()),
        committed => committed,
    }
}
