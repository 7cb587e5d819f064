use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Event, Place};

/// Examples that a text gives of many.
const EXAMPLES: usize = 3;

/// What a history shows. Its `Display` is a summary, a few lines long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Events that somebody began to publish.
    pub emitted: usize,
    /// Those of which some attempt was Ok.
    pub ok: usize,
    /// Attempts that ended in a plain no.
    pub not_published: usize,
    /// Attempts that ended in Unknown.
    pub unknown: usize,
    /// Attempts that never ended: the producer was killed, or waits for ever.
    pub open: usize,
    /// The longest attempt.
    pub slowest: Duration,
    /// What each group made of it.
    pub groups: BTreeMap<String, GroupReport>,
}

/// What a group made of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupReport {
    /// Events that a handler got.
    pub delivered: usize,
    /// Events that were handled to the end.
    pub handled: usize,
    /// Events that were given up by rule.
    pub dead: usize,
    /// Attempts that failed.
    pub failures: usize,
    /// Deliveries beyond the first and its retries: allowed, within the stated windows.
    pub repeats: usize,
    /// Commits that were seen.
    pub commits: usize,
    /// Published, and neither handled nor given up.
    pub lost: Vec<Event>,
    /// Handled although nobody published them.
    pub invented: Vec<Event>,
    /// Seen under more than one id: no dedup stops them.
    pub doubled: Vec<Event>,
    /// First handled after a later event of their key.
    pub inverted: Vec<Event>,
    /// First handled while an earlier event of their key was not final.
    pub overtaking: Vec<Event>,
    /// Begun, and never final: what was delivered is not all accounted for (D1).
    pub unfinished: Vec<Event>,
    /// Committed before they were final: a crash would have lost them.
    pub committed_early: Vec<Event>,
    /// Where a commit went back.
    pub went_back: Vec<Place>,
}

impl Report {
    /// What this group made of it; an empty report if it was not asked for.
    #[must_use]
    pub fn group(&self, name: &str) -> GroupReport {
        self.groups.get(name).cloned().unwrap_or_default()
    }

    /// What the contract forbids, each with examples; empty is good.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let of = |(name, group): (&String, &GroupReport)| group.violations(name);
        self.groups.iter().flat_map(of).collect()
    }
}

impl GroupReport {
    fn violations(&self, name: &str) -> Vec<String> {
        let events = [
            (&self.lost, "lost"),
            (&self.invented, "handled but never published"),
            (&self.doubled, "handled under two ids"),
            (&self.inverted, "handled after a later one of their key"),
            (
                &self.overtaking,
                "begun before an earlier one of their key was final",
            ),
            (&self.unfinished, "begun and never final"),
            (&self.committed_early, "committed before they were final"),
        ];
        let mut found: Vec<String> = events
            .into_iter()
            .filter(|(events, _)| !events.is_empty())
            .map(|(events, what)| {
                let examples: Vec<String> = events.iter().take(EXAMPLES).map(named).collect();
                let count = events.len();
                format!(
                    "group {name}: {count} events {what}: {}",
                    examples.join(", ")
                )
            })
            .collect();
        if let Some(place) = self.went_back.first() {
            let count = self.went_back.len();
            found.push(format!(
                "group {name}: {count} commits went back, the first to {} {}@{}",
                place.topic, place.partition, place.offset
            ));
        }
        found
    }
}

fn named(event: &Event) -> String {
    format!("{}/{} ({})", event.key, event.number, event.id)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} events emitted, {} Ok; attempts: {} NotPublished, {} Unknown, {} open; the slowest took {:.1?}",
            self.emitted, self.ok, self.not_published, self.unknown, self.open, self.slowest
        )?;
        for (name, group) in &self.groups {
            writeln!(
                f,
                "group {name}: {} delivered = {} handled + {} dead + {} unfinished; {} lost, {} repeated, \
                 {} doubled, {} out of order, {} failed attempts, {} commits seen",
                group.delivered,
                group.handled,
                group.dead,
                group.unfinished.len(),
                group.lost.len(),
                group.repeats,
                group.doubled.len(),
                group.inverted.len() + group.overtaking.len(),
                group.failures,
                group.commits,
            )?;
        }
        Ok(())
    }
}
