//! `cargo xtask bench`: the benchmarks, in release mode.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::brokers::{Broker, Provided};
use crate::workspace::Workspace;

/// What `cargo xtask bench` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The cases on a real broker, which is started unless one is there.
    #[arg(value_enum)]
    pub(crate) on: Option<Broker>,
    /// Run every case for a moment only: shows that the benchmarks work, measures nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Further arguments for the benchmarks.
    #[arg(last = true, value_name = "BENCH ARGS")]
    pub(crate) rest: Vec<String>,
}

/// Keeps branches off the ends of 32-byte blocks and begins loops and functions with a line of 64, in
/// tidings and in what it is compared with. On the Intel processors that must not cache a block in which a branch ends
/// (erratum SKX102), a build is otherwise up to half slower or faster for where its code happens to
/// lie; a loop of some ten instructions, or a listener of four, that lies across two lines may be
/// slower by a fifth.
///
/// Source: Intel, "Mitigations for Jump Conditional Code Erratum", 2019.
const ALIGNED: &str = "-C llvm-args=-x86-branches-within-32B-boundaries -C llvm-args=-align-loops=64 -C llvm-args=-align-all-functions=6";

/// Builds and runs the benchmarks.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--package", "tidings-bench"]);
    if !args.smoke {
        cargo.arg("--release");
        if cfg!(target_arch = "x86_64") {
            let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
            cargo
                .env("RUSTFLAGS", format!("{flags} {ALIGNED}"))
                .env("CARGO_TARGET_DIR", workspace.root().join("target/bench"));
        }
    }
    let _brokers = match args.on {
        Some(broker) => {
            let provided = Provided::one(workspace, broker)?;
            let url = provided.url(broker).context("the broker has no URL")?;
            let name = broker.name();
            cargo.args(["--features", name, "--", &format!("--{name}"), &url]);
            Some(provided)
        }
        None => {
            cargo.arg("--");
            None
        }
    };
    let status = cargo
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
