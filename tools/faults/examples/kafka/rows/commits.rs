//! F13: commits fail, on librdkafka's own mock cluster, which refuses them on command.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings::kafka::{Kafka, KafkaConfig, KafkaConsumer};
use tidings::transport::{
    Batch, Carried, Consumer as _, Headers, Message, Mode, Name, Origin, Payload, Start, Subscribe,
    Topics, Transport as _,
};
use tokio::time::Instant;

use super::world::{PATIENCE, World};
use super::{Shown, Size};

const TOPIC: &str = "commits";
const GROUP: &str = "readers";

/// Records; each round handles all of them.
const RECORDS: i64 = 10;

/// Refusals of every kind: what is final once and for all, what passes, what asks to join again.
const REFUSALS: [Code; 5] = [
    Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE,
    Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    Code::RD_KAFKA_RESP_ERR_UNKNOWN,
];

/// More than a member sends while it lives.
const ALL: usize = 10_000;

pub(super) async fn refused(_: World, size: Size) -> Result<Shown> {
    // The mock cluster cannot move between threads.
    let here = tokio::runtime::Handle::current();
    let run = move || {
        here.block_on(async {
            let refused = refused_to_the_end(size).await?;
            anyhow::Ok((refused, refused_for_a_while(size).await?))
        })
    };
    let (refused, passed) = tokio::task::spawn_blocking(run).await??;
    Ok(Shown::default()
        .injected(refused, "members that could commit nothing")
        .seen("everything came again to the next member, every time")
        .injected(passed, "commits refused before one passed")
        .seen("a later commit carried what the refused ones had not, with nothing more handled"))
}

/// A member whose every commit fails has done nothing for its group.
async fn refused_to_the_end(size: Size) -> Result<u64> {
    let mock = Mock::new().await?;
    let refusal = Code::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE;
    mock.cluster
        .request_errors(RDKafkaApiKey::OffsetCommit, &vec![refusal; ALL]);
    let rounds = size.pick(1, 10);
    let mut member = mock.handle_all().await?;
    for _ in 0..rounds {
        if member.close(Duration::from_secs(10)).await.is_ok() {
            bail!("a member closed in good order although its commit was refused");
        }
        if let Some(offset) = mock.committed().await? {
            bail!("the group is at {offset} although every commit was refused");
        }
        // It gets all of them, once more.
        member = mock.handle_all().await?;
    }
    mock.cluster
        .clear_request_errors(RDKafkaApiKey::OffsetCommit);
    member.close(Duration::from_secs(10)).await?;
    match mock.committed().await? {
        Some(RECORDS) => Ok(rounds),
        other => bail!("the group is at {other:?} after a commit that passed"),
    }
}

/// What a refused commit has not carried, the next one does.
async fn refused_for_a_while(size: Size) -> Result<u64> {
    let mut refused = 0;
    for _ in 0..size.pick(1, 5) {
        let mock = Mock::new().await?;
        // Taken one by one, by one commit each: when one has passed, all were refused.
        mock.cluster
            .request_errors(RDKafkaApiKey::OffsetCommit, &REFUSALS);
        let member = mock.handle_all().await?;
        let until = Instant::now() + PATIENCE;
        while mock.committed().await? != Some(RECORDS) {
            if Instant::now() >= until {
                bail!("no commit has passed within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        member.close(Duration::from_secs(10)).await?;
        refused += REFUSALS.len() as u64;
    }
    Ok(refused)
}

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: Kafka,
}

impl Mock {
    async fn new() -> Result<Self> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(TOPIC, 1, 1)?;
        let mut config = KafkaConfig::default();
        config.commit_interval = Duration::from_millis(50);
        config.session_timeout = Duration::from_secs(6);
        let kafka = Kafka::with_config(cluster.bootstrap_servers(), config);
        for _ in 0..RECORDS {
            let message = Message {
                topic: Name::from_static(TOPIC),
                key: None,
                envelope: Carried::Raw(Headers::new()),
                headers: Headers::new(),
                payload: Payload::Bytes("{}".into()),
                delay: None,
            };
            kafka.publish(message, Origin::default()).await?;
        }
        Ok(Self { cluster, kafka })
    }

    /// A member that gets every record from the first on, and has handled them all.
    async fn handle_all(&self) -> Result<KafkaConsumer> {
        let subscribe = Subscribe {
            group: Name::from_static(GROUP),
            topics: Topics::exact([TOPIC]),
            start: Start::Earliest,
            mode: Mode::AtLeastOnce,
            window: 64,
            ordered: true,
        };
        let mut member = self.kafka.subscribe(subscribe).await?;
        let mut batch = Batch::default();
        let mut seen = 0;
        while seen < RECORDS {
            let received = tokio::time::timeout(PATIENCE, member.receive(64, &mut batch));
            received.await.context("no record came")??;
            for received in batch.drain() {
                let offset = received.origination.position.map(|it| it.offset);
                if offset != Some(seen) {
                    bail!("record {offset:?} came where {seen} was due");
                }
                seen += 1;
                received.ack();
            }
        }
        Ok(member)
    }

    /// Where the group is, as the cluster has it.
    async fn committed(&self) -> Result<Option<i64>> {
        let servers = self.cluster.bootstrap_servers();
        let ask = move || {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", servers)
                .set("group.id", GROUP);
            let asking: BaseConsumer = config.create()?;
            let mut asked = TopicPartitionList::new();
            asked.add_partition(TOPIC, 0);
            let committed = asking.committed_offsets(asked, Duration::from_secs(10))?;
            let found = committed.elements().first().map(|it| it.offset());
            Ok(match found {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            })
        };
        tokio::task::spawn_blocking(ask).await?
    }
}
