//! The rows of the fault matrix that a single Kafka can show.

mod absent;
pub(crate) mod app;
mod commits;
mod offsets;
mod rebalance;
mod restart;
mod stage;
mod world;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use anyhow::{Result, bail};
use tidings_faults::Report;
use tokio::sync::RwLock;

pub(crate) use world::World;

/// How much a row does.
#[allow(dead_code, reason = "the tests run the short forms alone")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Some seconds, for the tests.
    Short,
    /// As the matrix wants it: minutes.
    Long,
}

impl Size {
    fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// A row of the matrix.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// It stops the broker that others use.
    pub(crate) alone: bool,
    /// Set for a broker that can be disturbed in the way that this row needs.
    #[allow(dead_code, reason = "the tests alone ask first")]
    pub(crate) needs: Option<&'static str>,
    run: fn(World, Size) -> Running,
}

type Running = Pin<Box<dyn Future<Output = Result<Shown>> + Send>>;

macro_rules! rows {
    ($($name:literal $about:literal $(($how:ident))? => $run:path;)+) => {
        pub(crate) const ROWS: &[Row] = &[$(
            Row {
                name: $name,
                about: $about,
                alone: rows!(@alone $($how)?),
                needs: rows!(@needs $($how)?),
                run: |world, size| Box::pin($run(world, size)),
            },
        )+];
    };
    (@alone alone) => { true };
    (@alone $($other:ident)?) => { false };
    (@needs alone) => { Some(world::RUN) };
    (@needs proxied) => { Some(world::PROXIED) };
    (@needs) => { None };
}

rows! {
    "f2" "the broker is killed under load, again and again" (alone) => restart::kill;
    "f3" "the broker is restarted in good order under load, again and again" (alone) => restart::stop;
    "f4" "the broker is absent for long" (proxied) => absent::refused;
    "f11" "members join and leave all the time, by either protocol" => rebalance::storm;
    "f12" "partitions are revoked while their handlers run" => rebalance::revoked;
    "f13" "commits fail" => commits::refused;
    "f15" "offsets become invalid: records deleted, topic made anew" => offsets::invalid;
}

/// Held for writing by a row that stops the broker.
static BROKER: RwLock<()> = RwLock::const_new(());

impl Row {
    /// Runs it; an error says what does not hold.
    pub(crate) async fn run(&self, world: World, size: Size) -> Result<Shown> {
        let shown = if self.alone {
            let _all = BROKER.write().await;
            (self.run)(world, size).await?
        } else {
            let _one = BROKER.read().await;
            (self.run)(world, size).await?
        };
        if shown.injected.iter().map(|(count, _)| count).sum::<u64>() == 0 {
            bail!("no fault was injected, so nothing was shown");
        }
        Ok(shown)
    }
}

/// What a row that holds has shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    injected: Vec<(u64, String)>,
    seen: Vec<String>,
}

impl Shown {
    fn injected(mut self, count: u64, what: impl Into<String>) -> Self {
        self.injected.push((count, what.into()));
        self
    }

    fn seen(mut self, what: impl fmt::Display) -> Self {
        let text = what.to_string();
        self.seen.extend(text.lines().map(str::to_owned));
        self
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in &self.injected {
            writeln!(f, "  injected: {count} {what}")?;
        }
        self.seen
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Fails on what the contract forbids.
fn sound(report: &Report) -> Result<()> {
    match report.violations() {
        none if none.is_empty() => Ok(()),
        found => bail!("{}\n{report}", found.join("; ")),
    }
}
