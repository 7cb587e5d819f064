//! The project's own commands, reached as `cargo xtask <command>`.
//!
//! | command | what it does |
//! |---|---|
//! | `test` | every test of the workspace; `--times N` repeats the built tests |
//! | `ci` | everything that belongs before a merge, step by step |
//! | `bench` | the benchmarks, in release mode |
//! | `faults` | rows of the fault matrix on a real broker: `faults kafka f2` |
//! | `brokers` | real brokers for tests and first tries: `up`, `down`, `status`, `env` |
//! | `misuse` | which rows of the misuse list have a test |
//!
//! Beside a Rust toolchain with rustfmt and clippy, what builds the Kafka transport needs a C compiler
//! and the headers of OpenSSL, and what starts a broker needs a Docker engine, or Java and Maven: it
//! names what it misses.
//! `test --no-brokers` starts none.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard streams"
)]

mod bench;
mod brokers;
mod budget;
mod ci;
mod examples;
mod faults;
mod features;
mod misuse;
mod process;
mod tally;
mod test;
mod units;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test: unit, integration, conformance, compile-fail and doc tests.
    Test(test::Args),
    /// Run what belongs before a merge; the first failing step ends it.
    Ci(ci::Args),
    /// Run the benchmarks in release mode.
    Bench(bench::Args),
    /// Run rows of the fault matrix on a real broker.
    Faults(faults::Args),
    /// Start, stop and show real brokers for tests and first tries.
    Brokers(brokers::Args),
    /// List which rows of the misuse list have a test, and fail on a gap.
    Misuse,
}

fn main() -> ExitCode {
    let result = Workspace::locate().and_then(|workspace| match Cli::parse().command {
        Task::Test(args) => test::run(&workspace, &args),
        Task::Ci(args) => ci::run(&workspace, &args),
        Task::Bench(args) => bench::run(&workspace, &args),
        Task::Faults(args) => faults::run(&workspace, &args),
        Task::Brokers(args) => brokers::run(&workspace, &args),
        Task::Misuse => misuse::run(&workspace),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_two_dashes_go_to_the_tests() {
        let cli = Cli::parse_from(["xtask", "test", "--times", "3", "--", "--nocapture", "row_"]);
        let Task::Test(args) = cli.command else {
            panic!("`test` parsed as {:?}", cli.command)
        };
        assert_eq!(args.times.get(), 3);
        assert_eq!(args.libtest, ["--nocapture", "row_"]);
    }

    #[test]
    fn zero_passes_are_refused() {
        assert!(Cli::try_parse_from(["xtask", "test", "--times", "0"]).is_err());
    }

    #[test]
    fn rows_of_the_fault_matrix_follow_their_broker() {
        let cli = Cli::parse_from(["xtask", "faults", "kafka", "f2", "f11", "--short"]);
        let Task::Faults(args) = cli.command else {
            panic!("`faults` parsed as {:?}", cli.command)
        };
        assert_eq!((args.on.name(), args.short), ("kafka", true));
        assert_eq!(args.rows, ["f2", "f11"]);
    }

    #[test]
    fn unknown_bench_arguments_are_passed_on() {
        let cli = Cli::parse_from(["xtask", "bench", "--smoke", "--", "--only", "G1"]);
        let Task::Bench(args) = cli.command else {
            panic!("`bench` parsed as {:?}", cli.command)
        };
        assert!(args.smoke);
        assert_eq!(args.rest, ["--only", "G1"]);
    }
}
