//! Real brokers for tests and first tries.
//!
//! A broker that an environment variable names is used as it is. Else, where a Docker engine answers,
//! Docker Compose starts one in a container, as `compose.yaml` says. Else one is installed into the
//! user's cache folder and started as a process. Both have free ports of loopback. What belongs to a
//! run (data and logs of a process; its id or the project's name, ports, certificates) lies in
//! `target/brokers/<name>`, until `down` removes it.

mod child;
mod compose;
mod files;
mod kafka;
mod started;
mod tls;
mod tools;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};

use self::{
    child::Child,
    compose::Project,
    files::{Run, Values},
    started::{Started, With, choose, clear, running},
};
use crate::{process, workspace::Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start them, unless they run.
    Up(Up),
    /// Stop them and remove their data.
    Down(Which),
    /// Show which of them run, and where.
    Status(Which),
    /// Print what a shell exports to use them: `eval "$(cargo xtask brokers env)"`.
    Env(Which),
}

#[derive(Debug, clap::Args)]
struct Up {
    #[command(flatten)]
    which: Which,
    /// What starts them, instead of Docker Compose where an engine answers and else a native install.
    #[arg(long, value_enum)]
    with: Option<With>,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// All of them, if none is named.
    #[arg(value_enum)]
    brokers: Vec<Broker>,
}

impl Which {
    fn brokers(&self) -> &[Broker] {
        match &*self.brokers {
            [] => Broker::value_variants(),
            named => named,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broker {
    Kafka,
}

/// Tells tests that a broker which is not there is a failure.
pub(crate) const REQUIRED: &str = "TIDINGS_REQUIRE_BROKERS";

/// How long a broker may take until it answers, or until it has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

impl Broker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
        }
    }

    /// The variable that names a broker to use, and that tests read.
    fn variable(self) -> &'static str {
        match self {
            Self::Kafka => kafka::URL,
        }
    }

    /// Whether the variable names one. Its URL is not shown: it may hold a password.
    fn is_given(self) -> bool {
        env::var_os(self.variable()).is_some_and(|url| !url.is_empty())
    }

    /// What in a process's command line says that it is this broker.
    fn mark(self) -> &'static str {
        match self {
            Self::Kafka => kafka::MAIN,
        }
    }

    fn start_process(self, run: &Run) -> Result<(Child, Values)> {
        match self {
            Self::Kafka => kafka::start(run, &cache()?),
        }
    }
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    // Two calls at once would take each other's broker for one that was left behind.
    let _alone = files::lock(workspace.root())?;
    let act = |which: &Which, act: &dyn Fn(Broker, &Run) -> Result<()>| {
        which
            .brokers()
            .iter()
            .try_for_each(|&broker| act(broker, &Run::new(workspace.root(), broker.name())))
    };
    match &args.action {
        Action::Up(args) => act(&args.which, &|broker, run| up(broker, run, args.with)),
        Action::Down(which) => act(which, &down),
        Action::Status(which) => act(which, &status),
        Action::Env(which) => act(which, &print_env),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Brokers for a run of the tests, taken down again when it is over.
#[derive(Debug)]
pub(crate) struct Provided {
    root: PathBuf,
    /// What tests are told, so that they find them.
    pub(crate) values: Values,
    started: Vec<Broker>,
}

impl Provided {
    /// None: tests that need one are skipped, and say so.
    pub(crate) fn none(workspace: &Workspace) -> Self {
        Self {
            root: workspace.root().to_owned(),
            values: Values::new(),
            started: Vec::new(),
        }
    }

    /// Starts those that neither run nor are named by their variable.
    pub(crate) fn all(workspace: &Workspace) -> Result<Self> {
        Self::start(workspace, Broker::value_variants())
    }

    /// Starts this one, unless it runs or is named by its variable.
    pub(crate) fn one(workspace: &Workspace, broker: Broker) -> Result<Self> {
        Self::start(workspace, &[broker])
    }

    fn start(workspace: &Workspace, brokers: &[Broker]) -> Result<Self> {
        let mut provided = Self::none(workspace);
        let _alone = files::lock(workspace.root())?;
        for &broker in brokers {
            let run = Run::new(workspace.root(), broker.name());
            if !broker.is_given() && running(broker, &run)?.is_none() {
                // From here on it is ours, half started or not.
                provided.started.push(broker);
            }
            up(broker, &run, None).with_context(|| {
                format!(
                    "no {} (for tests, `--no-brokers` skips those that need one)",
                    broker.name()
                )
            })?;
            if !broker.is_given() {
                provided.values.extend(run.values()?);
            }
        }
        Ok(provided)
    }

    /// Where a broker is.
    pub(crate) fn url(&self, broker: Broker) -> Option<String> {
        let variable = broker.variable();
        let started = self.values.get(variable).cloned();
        started.or_else(|| env::var(variable).ok())
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        let stopped = files::lock(&self.root).and_then(|_alone| {
            self.started
                .iter()
                .try_for_each(|&broker| down(broker, &Run::new(&self.root, broker.name())))
        });
        if let Err(error) = stopped {
            eprintln!("error: a broker was not stopped: {error:#}");
        }
    }
}

fn up(broker: Broker, run: &Run, with: Option<With>) -> Result<()> {
    let name = broker.name();
    if broker.is_given() {
        println!("{name}: the one that {} names is used", broker.variable());
        return Ok(());
    }
    if let Some(started) = running(broker, run)? {
        if with.is_some_and(|with| with != started.with()) {
            bail!(
                "{name} runs already, {}: end it with `cargo xtask brokers down {name}` first",
                started.place(run)
            );
        }
        println!("{name}: runs already, {}", started.place(run));
        return Ok(());
    }
    let with = choose(name, with)?;
    let begun = Instant::now();
    // What a broker left that was killed would be taken for the new one's.
    clear(broker, run)?;
    run.create()?;
    let (started, values) = match with {
        With::Compose => {
            println!("{name}: starting it with Docker Compose");
            let (project, values) = Project::start(broker, run)?;
            (Started::Containers(project), values)
        }
        With::Native => {
            let (child, values) = broker.start_process(run)?;
            run.note_process(child.id())?;
            (Started::Process(child), values)
        }
    };
    run.keep(&values)?;
    println!(
        "{name}: up in {}, {}",
        process::seconds(begun.elapsed()),
        started.place(run)
    );
    Ok(())
}

fn down(broker: Broker, run: &Run) -> Result<()> {
    let name = broker.name();
    let begun = Instant::now();
    let runs = running(broker, run)?.is_some();
    clear(broker, run)?;
    match runs {
        true => println!("{name}: down in {}", process::seconds(begun.elapsed())),
        false => println!("{name}: does not run"),
    }
    Ok(())
}

fn status(broker: Broker, run: &Run) -> Result<()> {
    let name = broker.name();
    match (broker.is_given(), running(broker, run)?) {
        (true, _) => println!("{name}: the one that {} names is used", broker.variable()),
        (false, Some(started)) => {
            println!("{name}: runs, {}", started.place(run));
            for (variable, value) in run.values()? {
                println!("  {variable}={value}");
            }
        }
        (false, None) => {
            println!("{name}: does not run, start it with `cargo xtask brokers up {name}`")
        }
    }
    Ok(())
}

fn print_env(broker: Broker, run: &Run) -> Result<()> {
    if broker.is_given() {
        // The shell has it.
        return Ok(());
    }
    let name = broker.name();
    running(broker, run)?.with_context(|| {
        format!("{name} does not run: start it with `cargo xtask brokers up {name}`")
    })?;
    for (variable, value) in run.values()? {
        println!("export {variable}='{value}'");
    }
    Ok(())
}

/// Where downloads are kept between runs and checkouts.
fn cache() -> Result<PathBuf> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let base = match named("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(named("HOME").context("neither XDG_CACHE_HOME nor HOME is set: set one of them to the folder that downloads may be kept in")?).join(".cache"),
    };
    Ok(base.join("tidings").join("brokers"))
}
