//! The benchmarks: every case beside its raw limit, in one interleaved run.
//!
//! Times move from machine to machine and with what else runs; so every round runs every case
//! once, and what counts is the ratio to the limit within a round.

mod cases;
mod driver;
mod goal;
mod machine;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use driver::Settings;

/// What the benchmarks take.
#[derive(Debug, Parser)]
#[command(
    name = "tidings-bench",
    about = "Measures tidings beside the raw limits"
)]
struct Args {
    /// Run every case for a moment only: shows that the benchmarks work, measures nothing.
    #[arg(long)]
    smoke: bool,
    /// The cases on Kafka instead, at this URL.
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "URL")]
    kafka: Option<String>,
    /// Be the process whose memory is measured.
    #[cfg(feature = "kafka")]
    #[arg(long, hide = true, requires = "kafka")]
    slow_consumer: bool,
    /// Rounds; each runs every case once. Default 101, on a broker 7.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a case runs in one round, in microseconds. Default 2,000, on a broker 500,000.
    #[arg(long, value_name = "MICROS")]
    slice: Option<u64>,
    /// Only cases whose name contains this text, with their limits.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Where to write the results as Markdown.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    #[cfg(feature = "kafka")]
    if let Some(url) = &args.kafka {
        let wanted = |only: &String| cases::resident::NAME.starts_with(only.as_str());
        match &args.only {
            _ if args.slow_consumer => return cases::resident::consume(url, args.smoke),
            Some(only) if wanted(only) => return cases::resident::run(url, args.smoke),
            _ => {}
        }
    }
    #[cfg(feature = "kafka")]
    let (broker, mut cases) = match &args.kafka {
        Some(url) => (true, cases::on_kafka(url)?),
        None => (false, cases::all()?),
    };
    #[cfg(not(feature = "kafka"))]
    let (broker, mut cases) = (false, cases::all()?);
    let settings = match args.smoke {
        true => Settings {
            rounds: 1,
            slice: Duration::from_micros(100),
        },
        false => Settings {
            rounds: args.rounds.unwrap_or(if broker { 7 } else { 101 }).max(1),
            slice: Duration::from_micros(args.slice.unwrap_or(if broker {
                500_000
            } else {
                2_000
            })),
        },
    };
    if let Some(only) = &args.only {
        driver::keep(&mut cases, only);
    }
    let measured = driver::run(&mut cases, settings);
    let text = match args.smoke {
        true => format!("{} cases ran; nothing was measured\n", measured.len()),
        false => report::text(&measured),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing the results")?;
    if let Some(path) = args.write {
        let page = report::page(&measured, settings);
        std::fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    #[cfg(feature = "kafka")]
    if let (Some(url), None) = (&args.kafka, &args.only) {
        return cases::resident::run(url, args.smoke);
    }
    Ok(ExitCode::SUCCESS)
}
