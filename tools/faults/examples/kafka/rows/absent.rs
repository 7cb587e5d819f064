//! F4: the broker cannot be reached for long.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidings_faults::Process;

use super::app::Role;
use super::stage::{Stage, leave};
use super::world::World;
use super::{Shown, Size, sound};

/// By how much a program may grow while it waits.
const GROWTH_KIB: u64 = 32 * 1024;

/// How much of a processor a program may use while it waits, in percent.
const BUSY: u64 = 50;

pub(super) async fn refused(world: World, size: Size) -> Result<Shown> {
    let absence = size.pick(Duration::from_secs(5), Duration::from_secs(600));
    let proxy = world.proxy().await?;
    let stage = Stage::new("f4", &proxy.address().to_string());
    let mut app = stage.app(Role::Producer, "producer");
    app.publish_deadline = size.pick(Duration::from_secs(2), Duration::from_secs(10));
    let producer = stage.start(&app).await?;
    let member = stage.start(&stage.app(Role::Member, "member")).await?;
    stage.watch_commits(&world)?;
    stage.progress("events to flow", 100).await?;

    let before = [Usage::of(&producer)?, Usage::of(&member)?];
    proxy.refuse();
    tokio::time::sleep(absence).await;
    let after = [Usage::of(&producer)?, Usage::of(&member)?];
    proxy.heal();
    stage.progress("events to flow again", 100).await?;
    stage.drain(producer).await?;
    leave(member).await?;

    let report = stage.report()?;
    sound(&report)?;
    let slack = Duration::from_secs(5);
    if report.open > 0 || report.slowest > app.publish_deadline + slack {
        bail!(
            "a publish did not end by its deadline of {:?}\n{report}",
            app.publish_deadline
        );
    }
    if report.unknown + report.not_published == 0 {
        bail!("no publish noticed that the broker was away\n{report}");
    }
    let mut shown = Shown::default();
    for (name, (before, after)) in ["producer", "member"]
        .into_iter()
        .zip(before.iter().zip(&after))
    {
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        let busy = (after.cpu - before.cpu).as_millis() * 100 / absence.as_millis();
        if grown > GROWTH_KIB || busy > u128::from(BUSY) {
            bail!(
                "the {name} grew by {grown} KiB and used {busy} % of a processor while it waited"
            );
        }
        shown = shown.seen(format!(
            "{name} while it waited: {grown} KiB more, {busy} % of a processor"
        ));
    }
    let injected = proxy.injected();
    Ok(shown
        .injected(
            injected.total(),
            format!("of {absence:?} of absence: {injected}"),
        )
        .seen(report))
}

/// What a process has used.
struct Usage {
    resident_kib: u64,
    cpu: Duration,
}

impl Usage {
    fn of(process: &Process) -> Result<Self> {
        let id = process.id().context("a program under test has ended")?;
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{id}/{what}"));
        let pages = read("statm")?;
        let pages = pages.split(' ').nth(1).context("no resident size")?;
        let stat = read("stat")?;
        // The program's name, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("no times")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        let page_kib = rustix::param::page_size() as u64 / 1024;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            resident_kib: pages.parse::<u64>()? * page_kib,
            cpu: Duration::from_millis(ticks * 1_000 / per_second),
        })
    }
}
