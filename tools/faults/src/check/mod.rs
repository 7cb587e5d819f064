//! What a history shows.

mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::history::{Entry, Event, Fact, Place, State};
pub use report::{GroupReport, Report};

/// Finds everything in a history that the delivery contract forbids, and counts what it allows.
///
/// Check a history that is complete: the producers have ended in good order, and the groups have
/// drained. What is open then counts as lost.
///
/// An event is its key and number; copies under one id are repeats that dedup stops, a copy under
/// another id is an event that was published twice.
///
/// ```
/// use tidings_faults::{Entry, Event, Fact, State, check};
///
/// let event = Event { key: "k".into(), number: 7, id: "k-7".into() };
/// let emit = |state| Fact::Emit { state, event: event.clone(), place: None };
/// let entries: Vec<Entry> = [emit(State::Invoke), emit(State::Ok)]
///     .into_iter()
///     .map(|fact| Entry { at: 0, by: "producer".into(), fact })
///     .collect();
///
/// let report = check(&entries, &["readers"]);
/// assert_eq!(report.group("readers").lost, [event]);
/// assert!(!report.violations().is_empty());
/// ```
#[must_use]
pub fn check(entries: &[Entry], groups: &[&str]) -> Report {
    let emits = Emits::of(entries);
    let of_group = |group: &&str| {
        let mut track = Track::new(&emits, group);
        entries.iter().for_each(|entry| track.see(&entry.fact));
        ((*group).to_owned(), track.end())
    };
    let groups = groups.iter().map(of_group).collect();
    Report {
        emitted: emits.ends.len(),
        ok: emits.count(|end| end.ok),
        not_published: emits.attempts[State::Fail as usize],
        unknown: emits.attempts[State::Unknown as usize],
        open: emits.open,
        slowest: emits.slowest,
        groups,
    }
}

/// The key and number of an event: which it is, whatever its copies are called.
type Which<'a> = (&'a str, u64);

fn which(event: &Event) -> Which<'_> {
    (&event.key, event.number)
}

/// What the producers did.
#[derive(Default)]
struct Emits<'a> {
    ends: BTreeMap<Which<'a>, EmitEnd<'a>>,
    places: BTreeMap<(&'a str, i32), BTreeMap<i64, &'a Event>>,
    attempts: [usize; 4],
    open: usize,
    slowest: Duration,
}

#[derive(Default)]
struct EmitEnd<'a> {
    // As the last entry has it: at its invocation an event may have none.
    id: &'a str,
    ok: bool,
    begun: usize,
    refused: usize,
}

impl<'a> Emits<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut emits = Self::default();
        let mut begun: HashMap<(&str, Which<'_>), u64> = HashMap::new();
        for Entry { at, by, fact } in entries {
            let Fact::Emit {
                state,
                event,
                place,
            } = fact
            else {
                continue;
            };
            let attempt = (by.as_str(), which(event));
            emits.attempts[*state as usize] += 1;
            let end = emits.ends.entry(which(event)).or_default();
            end.id = &event.id;
            match state {
                State::Invoke => {
                    begun.insert(attempt, *at);
                    end.begun += 1;
                    continue;
                }
                State::Ok => end.ok = true,
                State::Fail => end.refused += 1,
                State::Unknown => {}
            }
            if let Some(begun) = begun.remove(&attempt) {
                let took = Duration::from_micros(at.saturating_sub(begun));
                emits.slowest = emits.slowest.max(took);
            }
            if let Some(place) = place {
                let log = (place.topic.as_str(), place.partition);
                emits
                    .places
                    .entry(log)
                    .or_default()
                    .insert(place.offset, event);
            }
        }
        emits.open = begun.len();
        emits
    }

    fn count(&self, is: impl Fn(&EmitEnd<'_>) -> bool) -> usize {
        self.ends.values().filter(|end| is(end)).count()
    }

    /// Whether a handler may see it: some attempt to publish it did not end in a plain no.
    fn may_be_seen(&self, which: Which<'_>) -> bool {
        self.ends
            .get(&which)
            .is_some_and(|end| end.begun > end.refused)
    }
}

/// One group, followed through the history.
struct Track<'a> {
    emits: &'a Emits<'a>,
    group: &'a str,
    seen: BTreeMap<Which<'a>, Seen<'a>>,
    // Of each key: what has begun and is not final, and the highest that has begun.
    keys: HashMap<&'a str, (BTreeSet<u64>, u64)>,
    committed: HashMap<(&'a str, i32), i64>,
    report: GroupReport,
}

#[derive(Default)]
struct Seen<'a> {
    ids: BTreeSet<&'a str>,
    begun: usize,
    failed: usize,
    done: bool,
    dead: bool,
}

impl Seen<'_> {
    fn is_final(&self) -> bool {
        self.done || self.dead
    }
}

impl<'a> Track<'a> {
    fn new(emits: &'a Emits<'a>, group: &'a str) -> Self {
        Self {
            emits,
            group,
            seen: BTreeMap::new(),
            keys: HashMap::new(),
            committed: HashMap::new(),
            report: GroupReport::default(),
        }
    }

    fn see(&mut self, fact: &'a Fact) {
        match fact {
            Fact::Handle {
                group,
                state,
                event,
            } if group == self.group => self.handle(*state, event),
            Fact::Dead { group, event } if group == self.group => {
                self.seen.entry(which(event)).or_default().dead = true;
                self.is_final(event);
            }
            Fact::Committed { group, place } if group == self.group => self.commit(place),
            _ => {}
        }
    }

    fn handle(&mut self, state: State, event: &'a Event) {
        let seen = self.seen.entry(which(event)).or_default();
        match state {
            State::Invoke => {
                seen.begun += 1;
                seen.ids.insert(&event.id);
                if seen.begun == 1 {
                    self.begins(event);
                }
            }
            State::Ok => {
                seen.done = true;
                self.is_final(event);
            }
            State::Fail => {
                seen.failed += 1;
                self.report.failures += 1;
            }
            State::Unknown => {}
        }
    }

    /// The first time that a handler gets it (O1, O5).
    fn begins(&mut self, event: &'a Event) {
        let (open, highest) = self.keys.entry(&event.key).or_default();
        if *highest > event.number {
            self.report.inverted.push(event.clone());
        }
        if open.range(..event.number).next().is_some() {
            self.report.overtaking.push(event.clone());
        }
        open.insert(event.number);
        *highest = event.number.max(*highest);
    }

    fn is_final(&mut self, event: &Event) {
        if let Some((open, _)) = self.keys.get_mut(event.key.as_str()) {
            open.remove(&event.number);
        }
    }

    /// Everything before it must be final (D3), and it never goes back (D4).
    fn commit(&mut self, place: &'a Place) {
        self.report.commits += 1;
        let log = (place.topic.as_str(), place.partition);
        let before = self.committed.insert(log, place.offset);
        if before.is_some_and(|before| before > place.offset) {
            self.report.went_back.push(place.clone());
        }
        let Some(events) = self.emits.places.get(&log) else {
            return;
        };
        let new = events.range(before.unwrap_or(0)..place.offset.max(before.unwrap_or(0)));
        let early = new.filter(|(_, event)| {
            let seen = self.seen.get(&which(event));
            !seen.is_some_and(Seen::is_final)
        });
        self.report
            .committed_early
            .extend(early.map(|(_, event)| (*event).clone()));
    }

    fn end(self) -> GroupReport {
        let mut report = self.report;
        for (which, end) in &self.emits.ends {
            let is_final = self.seen.get(which).is_some_and(Seen::is_final);
            if end.ok && !is_final {
                report.lost.push(event(*which, end.id));
            }
        }
        for (which, seen) in &self.seen {
            let event = || event(*which, seen.ids.first().unwrap_or(&""));
            if !self.emits.may_be_seen(*which) {
                report.invented.push(event());
            }
            if !seen.is_final() {
                report.unfinished.push(event());
            }
            if seen.ids.len() > 1 {
                report.doubled.push(event());
            }
            report.delivered += usize::from(seen.begun > 0);
            report.handled += usize::from(seen.done);
            report.dead += usize::from(seen.dead && !seen.done);
            report.repeats += seen.begun.saturating_sub(seen.failed + 1);
        }
        report
    }
}

fn event((key, number): Which<'_>, id: &str) -> Event {
    Event {
        key: key.to_owned(),
        number,
        id: id.to_owned(),
    }
}

#[cfg(test)]
mod tests;
