//! What started a broker, and what is known of it later.

use anyhow::Result;
use clap::ValueEnum;

use super::{
    Broker, PATIENCE,
    child::Child,
    compose::{self, Project},
    files::Run,
};

/// What starts a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum With {
    /// Docker Compose.
    Compose,
    /// A program installed into the user's cache folder.
    Native,
}

/// What starts a broker that nobody named: Docker Compose where an engine answers.
pub(super) fn choose(name: &str, with: Option<With>) -> Result<With> {
    if with == Some(With::Native) {
        return Ok(With::Native);
    }
    match (compose::engine(), with) {
        (Ok(()), _) => Ok(With::Compose),
        (Err(why), Some(_)) => {
            Err(why.context("no Docker engine answers: start one, or leave out `--with compose`"))
        }
        (Err(why), None) => {
            println!("{name}: no Docker engine answers ({why:#}): as a native install");
            Ok(With::Native)
        }
    }
}

/// A broker that was started here.
#[derive(Debug)]
pub(super) enum Started {
    Process(Child),
    Containers(Project),
}

impl Started {
    /// What an earlier call noted, running or not.
    pub(super) fn noted(run: &Run) -> Result<Option<Self>> {
        if let Some(name) = run.project()? {
            return Ok(Some(Self::Containers(Project::known(name))));
        }
        Ok(run.process()?.map(Child::known).map(Self::Process))
    }

    pub(super) fn runs(&self, broker: Broker, run: &Run) -> Result<bool> {
        match self {
            // The number may be another program's by now.
            Self::Process(child) => Ok(child.is_called(broker.mark(), run.folder())),
            Self::Containers(project) => project.runs(broker, run),
        }
    }

    pub(super) fn stop(&self, broker: Broker, run: &Run) -> Result<()> {
        match self {
            Self::Process(child) if child.is_called(broker.mark(), run.folder()) => {
                child.stop(PATIENCE)
            }
            Self::Process(_) => Ok(()),
            // Containers that have ended are still there.
            Self::Containers(project) => project.stop(run),
        }
    }

    pub(super) fn with(&self) -> With {
        match self {
            Self::Process(_) => With::Native,
            Self::Containers(_) => With::Compose,
        }
    }

    pub(super) fn place(&self, run: &Run) -> String {
        match self {
            Self::Process(child) => {
                format!("process {}, logs in {}", child.id(), run.log().display())
            }
            Self::Containers(project) => project.place(),
        }
    }
}

/// The broker of an earlier call, if it still runs.
pub(super) fn running(broker: Broker, run: &Run) -> Result<Option<Started>> {
    let Some(started) = Started::noted(run)? else {
        return Ok(None);
    };
    Ok(started.runs(broker, run)?.then_some(started))
}

/// Ends what an earlier call left, and removes its files.
pub(super) fn clear(broker: Broker, run: &Run) -> Result<()> {
    if let Some(started) = Started::noted(run)? {
        started.stop(broker, run)?;
    }
    run.remove()
}
