//! The memory of a process that reads a long backlog slowly: it may not grow with what waits in the
//! broker, nor with what was read (contract M1).
//!
//! What it rests on: librdkafka fetches at most `fetched_kib` ahead; a partition of which a megabyte,
//! or a window of larger messages, was polled ahead is paused; and no more than a window is unsettled.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::{Bus, Event};
use tokio::runtime::Runtime;

pub(crate) const NAME: &str = "memory of a slow consumer on Kafka, 1,000,000 events behind";

const BACKLOG: u64 = 1_000_000;
const PARTITIONS: u32 = 4;

/// Four thousand events a second with the default concurrency: what waits outlasts the measurement,
/// and the table of ids that were handled is full when it begins.
const PAUSE: Duration = Duration::from_millis(8);
const WARM_UP: Duration = Duration::from_secs(40);
const MEASURED: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(5);

/// The most that the resident set may move, in hundredths.
const DRIFT: f64 = 2.0;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "bench.kept", version = 1, key = order_id)]
struct Kept {
    order_id: String,
    user_id: String,
    total_cents: u64,
    note: String,
}

/// Publishes the backlog, and has a process of its own read it: what this one has allocated before
/// would hide what that one needs.
pub(crate) fn run(url: &str, smoke: bool) -> Result<ExitCode> {
    let backlog = if smoke { 1_000 } else { BACKLOG };
    runtime()?.block_on(publish(url, backlog))?;
    let mut consumer = Command::new(std::env::current_exe()?);
    consumer.args(["--kafka", url, "--slow-consumer"]);
    consumer.args(smoke.then_some("--smoke"));
    let status = consumer.status().context("the consumer did not start")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

fn kafka(url: &str) -> Kafka {
    Kafka::new(url.trim_start_matches("kafka://")).partitions(PARTITIONS)
}

async fn publish(url: &str, backlog: u64) -> Result<()> {
    let bus = Bus::builder("bench-backlog");
    let bus = bus.transport(kafka(url)).build().await?;
    let kept = bus.publisher::<Kept>();
    stream::iter(0..backlog)
        .map(|number| {
            let event = Kept {
                order_id: format!("ord_{}", number % 1_000),
                user_id: format!("usr_{number}"),
                total_cents: 5_999,
                note: "x".repeat(110),
            };
            kept.emit(event).into_future()
        })
        .buffer_unordered(10_000)
        .try_for_each(async |_| Ok(()))
        .await?;
    bus.shutdown().await.context("publishing the backlog")?;
    Ok(())
}

/// Reads slowly, and says how much is resident.
pub(crate) fn consume(url: &str, smoke: bool) -> Result<ExitCode> {
    let runtime = runtime()?;
    let handled = Arc::new(AtomicU64::new(0));
    let bus = runtime.block_on(start(url, Arc::clone(&handled)))?;
    let (warm_up, measured, step) = match smoke {
        true => (Duration::ZERO, Duration::from_millis(500), STEP / 50),
        false => (WARM_UP, MEASURED, STEP),
    };
    say(&format!("{NAME}\n   s    handled  resident KiB"))?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < warm_up + measured {
        std::thread::sleep(step);
        let (at, resident) = (begun.elapsed(), resident_kib()?);
        let handled = handled.load(Ordering::Relaxed);
        let phase = match at < warm_up {
            true => "  warming up",
            false => {
                samples.push(resident);
                ""
            }
        };
        say(&format!(
            "{:>4.0}  {handled:>9}  {resident:>12}{phase}",
            at.as_secs_f64()
        ))?;
    }
    // What it holds comes again to nobody.
    let _ = runtime.block_on(bus.shutdown());
    if smoke {
        return Ok(ExitCode::SUCCESS);
    }
    let handled = handled.load(Ordering::Relaxed);
    anyhow::ensure!(
        handled < BACKLOG,
        "the backlog ended before the measurement did: nothing is shown"
    );
    let (least, most) = (samples.iter().min(), samples.iter().max());
    let (least, most) = least.zip(most).context("no sample was taken")?;
    let drift = (most - least) as f64 * 100.0 / *least as f64;
    let met = drift < DRIFT;
    let word = if met { "pass" } else { "MISS" };
    say(&format!(
        "{word}  {drift:.2} % drift (goal < {DRIFT} %), {} events of the backlog left",
        BACKLOG - handled
    ))?;
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn start(url: &str, handled: Arc<AtomicU64>) -> Result<Bus> {
    // Each run reads it anew.
    let run = SystemTime::UNIX_EPOCH.elapsed()?.as_micros();
    let bus = Bus::builder(format!("bench-{run}"));
    let bus = bus.transport(kafka(url)).build().await?;
    bus.group("slow")
        .with(handled)
        .on(async |handled: Arc<AtomicU64>, _: Arc<Kept>| {
            tokio::time::sleep(PAUSE).await;
            handled.fetch_add(1, Ordering::Relaxed);
        });
    bus.start().await?;
    Ok(bus)
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing the results")
}

/// The resident set of this process.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("the resident set is read from /proc/self/status, which only Linux has")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("no VmRSS in /proc/self/status")
}
