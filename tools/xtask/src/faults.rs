//! `cargo xtask faults`: rows of the fault matrix on a real broker, in their long form.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::brokers::{Broker, Provided};
use crate::workspace::Workspace;

/// What `cargo xtask faults` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The broker to disturb, which is started unless one is there.
    #[arg(value_enum)]
    pub(crate) on: Broker,
    /// Rows of the matrix, such as `f2`; all that this broker can show, if none is named.
    pub(crate) rows: Vec<String>,
    /// The form that the tests run: seconds instead of minutes.
    #[arg(long)]
    pub(crate) short: bool,
}

/// Builds and runs them.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let name = args.on.name();
    let brokers = Provided::one(workspace, args.on)?;
    let mut cargo = workspace.cargo_for_tests();
    cargo
        .args([
            "run",
            "--package",
            "tidings-faults",
            "--example",
            name,
            "--",
        ])
        .args(args.short.then_some("--short"))
        .args(&args.rows)
        .envs(&brokers.values);
    let status = cargo.status().context("cargo did not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
