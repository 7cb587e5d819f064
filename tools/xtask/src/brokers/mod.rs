//! Real brokers for tests and first tries.
//!
//! A broker that an environment variable names is used as it is. Else one is installed into the
//! user's cache folder and started on free ports of loopback. What belongs to a run (data, logs,
//! process id, ports, certificates) lies in `target/brokers/<name>`, until `down` removes it.

mod child;
mod files;
mod kafka;
mod tls;
mod tools;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};

use self::{
    child::Child,
    files::{Run, Values},
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
    Up(Which),
    /// Stop them and remove their data.
    Down(Which),
    /// Show which of them run, and where.
    Status(Which),
    /// Print what a shell exports to use them: `eval "$(cargo xtask brokers env)"`.
    Env(Which),
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

    fn start(self, run: &Run, cache: &std::path::Path) -> Result<(Child, Values)> {
        match self {
            Self::Kafka => kafka::start(run, cache),
        }
    }
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    // Two calls at once would take each other's broker for one that was left behind.
    let _alone = files::lock(workspace.root())?;
    let (which, act): (_, fn(Broker, &Run) -> Result<()>) = match &args.action {
        Action::Up(which) => (which, up),
        Action::Down(which) => (which, down),
        Action::Status(which) => (which, status),
        Action::Env(which) => (which, print_env),
    };
    for &broker in which.brokers() {
        act(broker, &Run::new(workspace.root(), broker.name()))?;
    }
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
            up(broker, &run).with_context(|| {
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

fn up(broker: Broker, run: &Run) -> Result<()> {
    let name = broker.name();
    if broker.is_given() {
        println!("{name}: the one that {} names is used", broker.variable());
        return Ok(());
    }
    if let Some(child) = running(broker, run)? {
        println!("{name}: runs already, process {}", child.id());
        return Ok(());
    }
    let begun = Instant::now();
    // What a broker left that was killed would be taken for the new one's.
    run.remove()?;
    run.create()?;
    let (child, values) = broker.start(run, &cache()?)?;
    run.keep(child.id(), &values)?;
    println!(
        "{name}: up in {}, process {}, logs in {}",
        process::seconds(begun.elapsed()),
        child.id(),
        run.log().display()
    );
    Ok(())
}

fn down(broker: Broker, run: &Run) -> Result<()> {
    let name = broker.name();
    match running(broker, run)? {
        None => println!("{name}: does not run"),
        Some(child) => {
            let begun = Instant::now();
            child.stop(PATIENCE)?;
            println!("{name}: down in {}", process::seconds(begun.elapsed()));
        }
    }
    run.remove()
}

fn status(broker: Broker, run: &Run) -> Result<()> {
    let name = broker.name();
    match (broker.is_given(), running(broker, run)?) {
        (true, _) => println!("{name}: the one that {} names is used", broker.variable()),
        (false, Some(child)) => {
            println!(
                "{name}: runs, process {}, logs in {}",
                child.id(),
                run.log().display()
            );
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

/// The broker of an earlier call, if it still runs.
fn running(broker: Broker, run: &Run) -> Result<Option<Child>> {
    let child = run.process()?.map(Child::known);
    // The number may be another program's by now.
    Ok(child.filter(|child| child.is_called(broker.mark(), run.folder())))
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
