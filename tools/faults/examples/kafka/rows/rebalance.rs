//! F11 and F12: partitions change hands.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Result, bail};
use tidings_faults::{Entry, Event, Fact, Process, State, check};

use super::app::Role;
use super::stage::{Stage, leave};
use super::world::World;
use super::{Shown, Size, sound};

/// A member joins or leaves so often.
const EACH: Duration = Duration::from_secs(2);

pub(super) async fn storm(world: World, size: Size) -> Result<Shown> {
    let mut shown = Shown::default();
    for broker_assigns in [false, true] {
        let stage = Stage::new("f11", &world.servers);
        let producer = stage.start(&stage.app(Role::Producer, "producer")).await?;
        stage.watch_commits(&world)?;
        let mut members: VecDeque<Process> = VecDeque::new();
        let mut joined = 0;
        let changes = size.pick(4, 60);
        for change in 0..changes {
            // Two come, one goes, up to four; then one goes for each that comes.
            if change % 3 < 2 && members.len() < 4 || members.len() < 2 {
                let mut member = stage.app(Role::Member, &format!("member-{joined}"));
                member.broker_assigns = broker_assigns;
                members.push_back(stage.start(&member).await?);
                joined += 1;
            } else if let Some(oldest) = members.pop_front() {
                leave(oldest).await?;
            }
            tokio::time::sleep(EACH).await;
        }
        // No partition idles: each has gone on to its end.
        stage.drain(producer).await?;
        for member in members {
            leave(member).await?;
        }
        let report = stage.report()?;
        let protocol = if broker_assigns {
            "consumer"
        } else {
            "classic"
        };
        sound(&report).map_err(|error| error.context(format!("by the {protocol} protocol")))?;
        let group = report.group(&stage.run);
        if group.commits == 0 || group.failures > 0 {
            bail!("by the {protocol} protocol: no commit was seen, or a handler failed\n{report}");
        }
        shown = shown
            .injected(
                changes,
                format!("joins and leaves by the {protocol} protocol"),
            )
            .seen(report);
    }
    Ok(shown)
}

pub(super) async fn revoked(world: World, size: Size) -> Result<Shown> {
    let rounds = size.pick(1, 10);
    let mut shown = Shown::default();
    for _ in 0..rounds {
        shown = revoked_once(&world, shown).await?;
    }
    Ok(shown)
}

/// A member whose handlers are busy with one event of each key, and a second one, which takes over
/// some of its partitions.
async fn revoked_once(world: &World, shown: Shown) -> Result<Shown> {
    let stage = Stage::new("f12", &world.servers);
    let mut app = stage.app(Role::Producer, "producer");
    app.events = Some(1);
    let mut producer = stage.start(&app).await?;
    producer.line("done", super::world::PATIENCE).await?;
    let mut app = stage.app(Role::Member, "old");
    app.revoke_deadline = Duration::from_millis(500);
    app.handling = Duration::from_secs(1);
    app.until_told = true;
    let old = stage.start(&app).await?;
    let emitted = stage.report()?.emitted;
    stage
        .until("every event to be in a handler", |entries| {
            of(entries, "old", State::Invoke).len() == emitted
        })
        .await?;
    stage.watch_commits(world)?;
    app.name = String::from("new");
    app.handling = Duration::from_secs(3);
    app.until_told = false;
    let new = stage.start(&app).await?;
    stage
        .until("handlers to be told, and to end all the same", |entries| {
            let told = of(entries, "old", State::Unknown);
            !told.is_empty() && told.is_subset(&of(entries, "old", State::Ok))
        })
        .await?;
    stage
        .until("the new owner to handle what it took over", |entries| {
            of(entries, "old", State::Unknown).is_subset(&of(entries, "new", State::Ok))
        })
        .await?;
    let told = of(&stage.entries()?, "old", State::Unknown);
    // The others end as their member leaves.
    leave(old).await?;
    let all =
        |entries: &[Entry]| check(entries, &[&stage.run]).group(&stage.run).handled == emitted;
    stage.until("every event to be handled", all).await?;
    leave(new).await?;

    // What a handler did that had lost its event does not count: only the new owner may commit it.
    let mut entries = stage.entries()?;
    entries.retain(|entry| match &entry.fact {
        Fact::Handle { state, event, .. } => {
            !(entry.by == "old" && *state == State::Ok && told.contains(event))
        }
        _ => true,
    });
    let report = check(&entries, &[&stage.run]);
    sound(&report)?;
    let group = report.group(&stage.run);
    if group.repeats < told.len() {
        bail!("what was taken over was not delivered again\n{report}");
    }
    Ok(shown
        .injected(
            told.len() as u64,
            "events revoked in the middle of their handlers",
        )
        .seen(report))
}

/// The events with which this program came that far.
fn of(entries: &[Entry], by: &str, how_far: State) -> BTreeSet<Event> {
    let events = entries.iter().filter(|entry| entry.by == by);
    let events = events.filter_map(|entry| match &entry.fact {
        Fact::Handle { state, event, .. } if *state == how_far => Some(event.clone()),
        _ => None,
    });
    events.collect()
}
