//! F15: the offset at which a group goes on is not there any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::{Bus, Event};
use tokio::time::Instant;

use super::world::{PATIENCE, World, unique};
use super::{Shown, Size};

#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(name = "faults.vanished", version = 1)]
struct Vanished {
    run: String,
    number: u64,
}

const TOPIC: &str = "faults.vanished";

pub(super) async fn invalid(world: World, size: Size) -> Result<Shown> {
    let rounds = size.pick(1, 5);
    let mut seen = Vec::new();
    for _ in 0..rounds {
        seen = vec![
            format!("records deleted: {}", deleted(&world).await?),
            format!(
                "topic made anew under a member: {}",
                anew_under_a_member(&world).await?
            ),
            format!(
                "topic made anew between two members: {}",
                anew_between(&world).await?
            ),
        ];
    }
    Ok(Shown::default()
        .injected(rounds * 5, "records deleted that the group had not read")
        .injected(rounds * 2, "topics deleted and made anew")
        .seen(seen.join("\n")))
}

/// Retention passes what the group has not read.
async fn deleted(world: &World) -> Result<String> {
    world.make_anew().await?;
    let run = unique("f15");
    world.emit(&run, 0..3).await?;
    let reader = Reader::start(world, &run).await?;
    reader.has(3).await?;
    reader.bus.shutdown().await?;
    world.emit(&run, 3..10).await?;
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(TOPIC, 0, Offset::Offset(8))?;
    let options = AdminOptions::new();
    world.admin()?.delete_records(&gone, &options).await?;

    let reader = Reader::start(world, &run).await?;
    reader.halts().await?;
    let handled = reader.handled();
    if !handled.is_empty() {
        bail!("the group jumped over records 3 to 7 and handled {handled:?}");
    }
    Ok(String::from("the group halted, and handled nothing"))
}

/// The topic goes and comes while a member is in the middle of it. The new one ends before the place
/// where the member goes on: of one that has outgrown it the client library tells nothing.
async fn anew_under_a_member(world: &World) -> Result<String> {
    world.make_anew().await?;
    let run = unique("f15");
    world.emit(&run, 0..5).await?;
    let reader = Reader::start(world, &run).await?;
    reader.has(5).await?;
    world.make_anew().await?;
    world.emit(&run, 100..103).await?;
    reader.halts().await?;
    match reader.handled().len() {
        5 => Ok(String::from("the group halted, and handled nothing")),
        _ => bail!("the group went on: it handled {:?}", reader.handled()),
    }
}

/// The topic goes and comes while the group is away.
async fn anew_between(world: &World) -> Result<String> {
    world.make_anew().await?;
    let run = unique("f15");
    world.emit(&run, 0..5).await?;
    let reader = Reader::start(world, &run).await?;
    reader.has(5).await?;
    reader.bus.shutdown().await?;
    world.make_anew().await?;
    world.emit(&run, 100..120).await?;
    let reader = Reader::start(world, &run).await?;
    reader.halts_or_handles(100..120).await
}

impl World {
    fn kafka(&self) -> Kafka {
        Kafka::new(&self.servers).partitions(1)
    }

    async fn emit(&self, run: &str, numbers: std::ops::Range<u64>) -> Result<()> {
        let bus = Bus::builder("faults")
            .transport(self.kafka())
            .build()
            .await?;
        for number in numbers {
            let run = run.to_owned();
            bus.emit(Vanished { run, number }).await?;
        }
        bus.shutdown().await?;
        Ok(())
    }

    /// Deletes the topic, if it is there, and makes another of its name.
    async fn make_anew(&self) -> Result<()> {
        let (admin, options) = (self.admin()?, AdminOptions::new());
        let deleted = admin.delete_topics(&[TOPIC], &options).await?;
        tracing::debug!(?deleted, "the old topic, if it was there");
        let until = Instant::now() + PATIENCE;
        loop {
            let new = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
            let made = admin.create_topics([&new], &options).await?;
            match made.into_iter().next().context("no answer")? {
                Ok(_) => return Ok(()),
                // The old one is still on its way out.
                Err(_) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err((topic, code)) => bail!("topic {topic} cannot be made: {code}"),
            }
        }
    }
}

/// A group of its own, and what it handled of its run.
struct Reader {
    bus: Bus,
    group: String,
    handled: Arc<Mutex<Vec<u64>>>,
}

impl Reader {
    async fn start(world: &World, run: &str) -> Result<Self> {
        let bus = Bus::builder("faults")
            .transport(world.kafka())
            .build()
            .await?;
        let handled = Arc::<Mutex<Vec<u64>>>::default();
        let (log, own) = (Arc::clone(&handled), run.to_owned());
        bus.group(run.to_owned()).exact().on(move |it: Vanished| {
            if it.run == own {
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(it.number);
            }
            std::future::ready(())
        });
        bus.start().await?;
        Ok(Self {
            bus,
            group: run.to_owned(),
            handled,
        })
    }

    fn handled(&self) -> Vec<u64> {
        let handled = self.handled.lock();
        handled.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_halted(&self) -> bool {
        let stats = self.bus.group(self.group.clone()).exact().stats();
        stats.is_some_and(|stats| stats.stopped)
    }

    async fn has(&self, count: usize) -> Result<()> {
        self.until("records to be handled", || self.handled().len() >= count)
            .await
    }

    async fn halts(&self) -> Result<()> {
        self.until("the group to halt", || self.is_halted()).await
    }

    /// It says that something is lost, or loses nothing of what is there now.
    async fn halts_or_handles(&self, new: std::ops::Range<u64>) -> Result<String> {
        let ended = || self.is_halted() || self.handled().last() == Some(&(new.end - 1));
        self.until("the group to halt, or to go on", ended).await?;
        if self.is_halted() {
            return Ok(String::from("the group halted"));
        }
        let handled = self.handled();
        let of_new: Vec<u64> = handled.into_iter().filter(|it| new.contains(it)).collect();
        if of_new != new.clone().collect::<Vec<_>>() {
            bail!("the group jumped in silence: of {new:?} it handled {of_new:?}");
        }
        Ok(String::from(
            "the group began with the first record of the new topic",
        ))
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !is() {
            if Instant::now() >= until {
                bail!(
                    "{what}: not within {PATIENCE:?}, handled {:?}",
                    self.handled()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
