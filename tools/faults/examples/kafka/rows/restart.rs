//! F2 and F3: the broker goes and comes back under load.

use std::time::Duration;

use anyhow::{Result, bail};

use super::app::Role;
use super::stage::{Stage, leave};
use super::world::{PATIENCE, World};
use super::{Shown, Size, sound};

/// What a publish may take beyond its deadline, on a machine that is busy with something else.
const SLACK: Duration = Duration::from_secs(5);

pub(super) async fn kill(world: World, size: Size) -> Result<Shown> {
    restart(&world, size, "f2", true).await
}

pub(super) async fn stop(world: World, size: Size) -> Result<Shown> {
    restart(&world, size, "f3", false).await
}

async fn restart(world: &World, size: Size, row: &str, kills: bool) -> Result<Shown> {
    let broker = world.service()?;
    let stage = Stage::new(row, &world.servers);
    let mut app = stage.app(Role::Producer, "producer");
    // A clean restart is shorter than that, so no emit may fail. Of a kill some may.
    app.publish_deadline = Duration::from_secs(if kills { 4 } else { 60 });
    let producer = stage.start(&app).await?;
    let member = stage.start(&stage.app(Role::Member, "member")).await?;
    stage.watch_commits(world)?;
    stage.progress("events to flow", 100).await?;
    let rounds = size.pick(1, 20);
    for _ in 0..rounds {
        if kills {
            broker.kill(PATIENCE).await?;
        } else {
            broker.stop(PATIENCE).await?;
        }
        broker.start(PATIENCE).await?;
        stage.progress("events to flow again", 100).await?;
    }
    stage.drain(producer).await?;
    leave(member).await?;

    let report = stage.report()?;
    sound(&report)?;
    if report.open > 0 || report.slowest > app.publish_deadline + SLACK {
        bail!(
            "a publish did not end by its deadline of {:?}\n{report}",
            app.publish_deadline
        );
    }
    let group = report.group(&stage.run);
    let errors = group.failures + report.unknown + report.not_published;
    if !kills && errors > 0 {
        bail!("a clean restart was noticed\n{report}");
    }
    let what = if kills { "kills" } else { "restarts" };
    Ok(Shown::default()
        .injected(rounds, format!("{what} of the broker"))
        .seen(report))
}
