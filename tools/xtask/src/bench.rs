//! `cargo xtask bench`: the benchmarks, in release mode.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The command before the benchmarks' own arguments.
pub(crate) const COMMAND: [&str; 5] = ["run", "--release", "--package", "tidings-bench", "--"];

/// What `cargo xtask bench` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Run every case for a moment only: shows that the benchmarks work, measures nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Further arguments for the benchmarks.
    #[arg(last = true, value_name = "BENCH ARGS")]
    pub(crate) rest: Vec<String>,
}

/// Builds and runs the benchmarks.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let status = workspace
        .cargo()
        .args(COMMAND)
        .args(args.smoke.then_some("--smoke"))
        .args(&args.rest)
        .status()
        .context("cargo did not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
