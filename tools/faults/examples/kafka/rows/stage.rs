//! One run: its history, its programs, and who watches the commits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings_faults::{Entry, Fact, History, Place, Process, Report, State, check};
use tokio::time::Instant;

use super::app::{App, PARTITIONS, Role, TOPIC};
use super::world::{PATIENCE, World, unique};

/// How often the history and the commits are looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// A run with names of its own; its history is removed with it.
pub(super) struct Stage {
    /// The group, and the mark of the run's events.
    pub(super) run: String,
    servers: String,
    since: i64,
    history: PathBuf,
    over: Arc<AtomicBool>,
}

impl Stage {
    /// Programs of this stage reach the broker by these servers.
    pub(super) fn new(row: &str, servers: &str) -> Self {
        let run = unique(row);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            history: std::env::temp_dir().join(format!("tidings-faults-{run}.jsonl")),
            servers: servers.to_owned(),
            since: i64::try_from(now.as_micros()).unwrap_or_default(),
            over: Arc::default(),
            run,
        }
    }

    pub(super) fn app(&self, role: Role, name: &str) -> App {
        App {
            role,
            name: name.to_owned(),
            run: self.run.clone(),
            since: self.since,
            servers: self.servers.clone(),
            history: self.history.clone(),
            publish_deadline: Duration::from_secs(10),
            revoke_deadline: Duration::from_secs(2),
            broker_assigns: false,
            handling: Duration::ZERO,
            until_told: false,
            events: None,
        }
    }

    /// A program, once it says that it is ready.
    pub(super) async fn start(&self, app: &App) -> Result<Process> {
        let mut process = app.start()?;
        process.line("ready", PATIENCE).await?;
        Ok(process)
    }

    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        Ok(History::read(&self.history)?)
    }

    pub(super) fn report(&self) -> Result<Report> {
        Ok(check(&self.entries()?, &[&self.run]))
    }

    /// Waits until the history shows it.
    pub(super) async fn until(
        &self,
        what: &str,
        mut is: impl FnMut(&[Entry]) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let entries = self.entries()?;
            if is(&entries) {
                return Ok(());
            }
            if Instant::now() >= until {
                let report = check(&entries, &[&self.run]);
                bail!("{what}: not within {PATIENCE:?}\n{report}");
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until so many more events were handled.
    pub(super) async fn progress(&self, what: &str, more: usize) -> Result<()> {
        let ends = |entry: &&Entry| matches!(&entry.fact, Fact::Handle { state, .. } if *state == State::Ok);
        let handled = |entries: &[Entry]| entries.iter().filter(ends).count();
        let before = handled(&self.entries()?);
        self.until(what, |entries| handled(entries) >= before + more)
            .await
    }

    /// Ends the producer in good order, then waits until the group has handled what was Ok.
    pub(super) async fn drain(&self, mut producer: Process) -> Result<()> {
        producer.terminate()?;
        if !producer.ended(PATIENCE).await?.success() {
            bail!("the producer failed");
        }
        self.until("all that was published to be handled", |entries| {
            let group = check(entries, &[&self.run]).group(&self.run);
            group.lost.is_empty() && group.unfinished.is_empty()
        })
        .await
    }

    /// Notes each commit of the group from now on, as long as the stage stands.
    pub(super) fn watch_commits(&self, world: &World) -> Result<()> {
        let history = History::open(&self.history, "broker")?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &world.servers)
            .set("group.id", &self.run);
        let asking: BaseConsumer = config.create()?;
        let (over, group) = (Arc::clone(&self.over), self.run.clone());
        std::thread::spawn(move || {
            let mut known = BTreeMap::new();
            while !over.load(Ordering::Acquire) {
                // While the broker is away there is no answer; the next one tells.
                if let Ok(committed) = ask(&asking) {
                    for (partition, offset) in committed {
                        if known.insert(partition, offset) == Some(offset) {
                            continue;
                        }
                        let place = Place {
                            topic: TOPIC.to_owned(),
                            partition,
                            offset,
                        };
                        let group = group.clone();
                        // The stage may have gone, and its history with it.
                        let _ = history.add(Fact::Committed { group, place });
                    }
                }
                std::thread::sleep(GLANCE);
            }
        });
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = std::fs::remove_file(&self.history);
    }
}

/// The committed offsets of the topic's partitions.
fn ask(asking: &BaseConsumer) -> Result<Vec<(i32, i64)>> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        asked.add_partition(TOPIC, partition.cast_signed());
    }
    let committed = asking.committed_offsets(asked, Duration::from_secs(2))?;
    let known = committed
        .elements()
        .into_iter()
        .filter_map(|it| match it.offset() {
            Offset::Offset(offset) => Some((it.partition(), offset)),
            _ => None,
        });
    Ok(known.collect())
}

/// Asks a member to leave, and waits until it has.
pub(super) async fn leave(mut member: Process) -> Result<()> {
    member.terminate()?;
    if !member.ended(PATIENCE).await?.success() {
        bail!("a member failed");
    }
    Ok(())
}
