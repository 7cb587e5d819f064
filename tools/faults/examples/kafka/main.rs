//! The fault matrix on Apache Kafka: `cargo xtask faults kafka f2`, or without xtask, on a broker that
//! `cargo xtask brokers up` started:
//!
//! ```text
//! eval "$(cargo xtask brokers env kafka)"
//! cargo run --package tidings-faults --example kafka -- f2 f11 --short
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard streams"
)]

mod rows;

use std::process::ExitCode;

use clap::Parser;

use rows::{ROWS, Row, Size, World};

/// Rows of the fault matrix, each with the faults that were injected and what the checker found.
#[derive(Debug, Parser)]
struct Cli {
    /// Which of them; all, if none is named.
    rows: Vec<String>,
    /// The form that the tests run, which takes seconds instead of minutes.
    #[arg(long)]
    short: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(ended) = rows::app::of_this_process().await {
        return ended;
    }
    let cli = Cli::parse();
    let named = |row: &&Row| cli.rows.is_empty() || cli.rows.iter().any(|name| name == row.name);
    let chosen: Vec<&Row> = ROWS.iter().filter(named).collect();
    if let Some(unknown) = cli
        .rows
        .iter()
        .find(|name| chosen.iter().all(|row| row.name != **name))
    {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        eprintln!(
            "error: there is no row {unknown}: use one of {}",
            names.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let size = if cli.short { Size::Short } else { Size::Long };
    let mut failed = 0;
    for row in chosen {
        println!("{}: {}", row.name, row.about);
        let shown = match World::from_env() {
            Ok(world) => row.run(world, size).await,
            Err(error) => Err(error),
        };
        match shown {
            Ok(shown) => println!("{shown}{}: holds\n", row.name),
            Err(error) => {
                failed += 1;
                println!("{}: FAILED: {error:#}\n", row.name);
            }
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
