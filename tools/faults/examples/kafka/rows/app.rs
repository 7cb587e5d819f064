//! The program under test: a producer, or a member of a group, as a process of its own.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tidings::kafka::{GroupProtocol, Kafka, KafkaConfig};
use tidings::{Bus, Delivery, EventId, Start, Timestamp};
use tidings_faults::{Event, Fact, History, Place, Process, State};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Set for a child: what it is to do.
const APP: &str = "TIDINGS_FAULTS_APP";

/// Partitions of the topic.
pub(super) const PARTITIONS: u32 = 4;

/// Keys; the producer emits to all of them at once, one event after the other each.
const KEYS: u64 = 8;

#[derive(Clone, Debug, Serialize, Deserialize, tidings::Event)]
#[event(name = "faults.ticked", version = 1, key = key)]
struct Ticked {
    run: String,
    key: String,
    number: u64,
}

/// The topic of its events.
pub(super) const TOPIC: &str = "faults.ticked";

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct App {
    pub(super) role: Role,
    pub(super) name: String,
    /// The run, whose events alone count, and the group.
    pub(super) run: String,
    /// When the run began, in microseconds since 1970: what lies before is not its own.
    pub(super) since: i64,
    pub(super) servers: String,
    pub(super) history: PathBuf,
    pub(super) publish_deadline: Duration,
    pub(super) revoke_deadline: Duration,
    /// Whether the broker assigns partitions (KIP-848), instead of the members.
    pub(super) broker_assigns: bool,
    /// How long a handler takes.
    pub(super) handling: Duration,
    /// Whether it first waits until it is told to end early.
    pub(super) until_told: bool,
    /// Events of each key; without one, as many as there is time for.
    pub(super) events: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Producer,
    Member,
}

impl App {
    pub(super) fn start(&self) -> Result<Process> {
        let mut command = Command::new(env::current_exe().context("no program")?);
        command.env(APP, serde_json::to_string(self)?);
        Ok(Process::start(command)?)
    }

    fn transport(&self) -> Kafka {
        let mut config = KafkaConfig::default();
        config.partitions = PARTITIONS;
        config.publish_deadline = self.publish_deadline;
        config.revoke_deadline = self.revoke_deadline;
        // A member that is killed is missed soon.
        config.session_timeout = Duration::from_secs(6);
        config.commit_interval = Duration::from_millis(200);
        if self.broker_assigns {
            config.group_protocol = GroupProtocol::Consumer;
        }
        Kafka::with_config(&self.servers, config)
    }

    async fn bus(&self) -> Result<Bus> {
        let bus = Bus::builder("faults")
            .transport(self.transport())
            .deadline(Duration::from_secs(100))
            .drain(Duration::from_secs(15));
        Ok(bus.build().await?)
    }
}

/// Runs this process as a child, if it is one.
pub(crate) async fn of_this_process() -> Option<ExitCode> {
    // Brokers that go and come are loud: nothing is said unless it is asked for.
    let filter = env::var("TIDINGS_FAULTS_LOG").unwrap_or_else(|_| String::from("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let text = env::var(APP).ok()?;
    let run = async {
        let app: App = serde_json::from_str(&text)?;
        match app.role {
            Role::Producer => produce(app).await,
            Role::Member => consume(app).await,
        }
    };
    Some(match run.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "a program under test failed: {error:#}");
            ExitCode::FAILURE
        }
    })
}

async fn produce(app: App) -> Result<()> {
    let bus = app.bus().await?;
    let history = Arc::new(History::open(&app.history, &app.name)?);
    let mut told = signal(SignalKind::terminate())?;
    let (stop, stopped) = watch::channel(false);
    let mut keys = JoinSet::new();
    for key in 0..KEYS {
        let (bus, history, app) = (bus.clone(), Arc::clone(&history), app.clone());
        let stopped = stopped.clone();
        keys.spawn(async move {
            for number in 0..app.events.unwrap_or(u64::MAX) {
                if *stopped.borrow() {
                    break;
                }
                let tick = Ticked {
                    run: app.run.clone(),
                    key: format!("k{key}"),
                    number,
                };
                emit(&bus, &history, tick).await?;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            anyhow::Ok(())
        });
    }
    say("ready")?;
    loop {
        tokio::select! {
            ended = keys.join_next() => match ended {
                Some(ended) => ended.context("a key's task ended")??,
                None => break,
            },
            _ = told.recv() => { stop.send_replace(true); }
        }
    }
    bus.shutdown().await?;
    say("done")
}

/// One event, again and again under its one id, until it is Ok.
async fn emit(bus: &Bus, history: &History, tick: Ticked) -> Result<()> {
    let event = |id: &str| Event {
        key: tick.key.clone(),
        number: tick.number,
        id: id.to_owned(),
    };
    let note = |state, id: &EventId, place| {
        history.add(Fact::Emit {
            state,
            event: event(&id.to_string()),
            place,
        })
    };
    history.add(Fact::Emit {
        state: State::Invoke,
        event: event(""),
        place: None,
    })?;
    let mut tried = bus.emit(tick.clone()).await;
    loop {
        match tried {
            Ok(receipt) => {
                let place = receipt.position().map(|it| Place {
                    topic: TOPIC.to_owned(),
                    partition: it.partition,
                    offset: it.offset,
                });
                note(State::Ok, receipt.id(), place)?;
                return Ok(());
            }
            Err(error) => {
                let state = match error.is_unknown() {
                    true => State::Unknown,
                    false => State::Fail,
                };
                note(state, error.id(), None)?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                note(State::Invoke, error.id(), None)?;
                tried = bus.emit_again(error).await;
            }
        }
    }
}

async fn consume(app: App) -> Result<()> {
    let bus = app.bus().await?;
    let history = Arc::new(History::open(&app.history, &app.name)?);
    let group = bus.group(app.run.clone()).exact();
    let group = group.start_at(Start::At(Timestamp::from_micros(app.since)));
    group.on(move |tick: Delivery<Ticked>| {
        let (history, app) = (Arc::clone(&history), app.clone());
        async move { handle(&tick, &history, &app).await }
    });
    bus.start().await?;
    say("ready")?;
    // What is handed back at the end is handled by others.
    let _ = bus.run().await;
    say("done")
}

async fn handle(tick: &Delivery<Ticked>, history: &History, app: &App) -> Result<(), String> {
    if tick.event().run != app.run {
        return Ok(());
    }
    let note = |state| {
        let fact = Fact::Handle {
            group: app.run.clone(),
            state,
            event: Event {
                key: tick.event().key.clone(),
                number: tick.event().number,
                id: tick.id().to_string(),
            },
        };
        history.add(fact).map_err(|error| error.to_string())
    };
    note(State::Invoke)?;
    if app.until_told {
        tick.cancelled().await;
        note(State::Unknown)?;
    }
    // It goes on all the same, as many do.
    tokio::time::sleep(app.handling).await;
    note(State::Ok)
}

/// Tells the parent.
fn say(text: &str) -> Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
