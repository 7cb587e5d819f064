//! A sound history, and the same with one mistake each.

use super::*;

const G: &str = "g";

fn event(key: &str, number: u64) -> Event {
    Event {
        key: key.into(),
        number,
        id: format!("{key}-{number}"),
    }
}

fn entry(fact: Fact) -> Entry {
    Entry {
        at: 0,
        by: "p".into(),
        fact,
    }
}

fn emit(state: State, key: &str, number: u64) -> Entry {
    let place = (state == State::Ok).then(|| at(number as i64));
    entry(Fact::Emit {
        state,
        event: event(key, number),
        place,
    })
}

fn at(offset: i64) -> Place {
    Place {
        topic: "t".into(),
        partition: 0,
        offset,
    }
}

fn handle(state: State, key: &str, number: u64) -> Entry {
    entry(Fact::Handle {
        group: G.into(),
        state,
        event: event(key, number),
    })
}

fn dead(key: &str, number: u64) -> Entry {
    entry(Fact::Dead {
        group: G.into(),
        event: event(key, number),
    })
}

fn committed(offset: i64) -> Entry {
    entry(Fact::Committed {
        group: G.into(),
        place: at(offset),
    })
}

/// Numbers 0 and 1 of a key, handled and committed.
fn sound() -> Vec<Entry> {
    let mut entries = Vec::new();
    for number in 0..2 {
        entries.push(emit(State::Invoke, "k", number));
        entries.push(emit(State::Ok, "k", number));
    }
    for number in 0..2 {
        entries.push(handle(State::Invoke, "k", number));
        entries.push(handle(State::Ok, "k", number));
    }
    entries.push(committed(2));
    entries
}

fn with(change: impl FnOnce(&mut Vec<Entry>)) -> (GroupReport, Vec<String>) {
    let mut entries = sound();
    change(&mut entries);
    let report = check(&entries, &[G]);
    (report.group(G), report.violations())
}

fn assert_only(violations: &[String], what: &str) {
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(what), "{violations:?}");
}

#[test]
fn a_sound_history_has_no_violation() {
    let (group, violations) = with(|_| {});
    assert_eq!(violations, [""; 0]);
    assert_eq!((group.delivered, group.handled, group.repeats), (2, 2, 0));
    assert_eq!(group.commits, 1);
}

#[test]
fn a_lost_event_is_named() {
    let (group, violations) = with(|entries| {
        entries.truncate(entries.len() - 3);
    });
    assert_eq!(group.lost, [event("k", 1)]);
    assert_only(&violations, "1 events lost: k/1 (k-1)");
}

#[test]
fn a_group_that_saw_nothing_lost_everything() {
    let report = check(&sound(), &["other"]);
    assert_eq!(report.group("other").lost.len(), 2);
}

#[test]
fn a_dead_letter_is_final() {
    let (group, violations) = with(|entries| {
        let last = entries.len() - 2;
        entries[last] = dead("k", 1);
    });
    assert_eq!(violations, [""; 0]);
    assert_eq!((group.handled, group.dead), (1, 1));
}

#[test]
fn what_was_never_published_is_an_invention() {
    let (group, violations) = with(|entries| {
        entries.push(emit(State::Invoke, "k", 2));
        entries.push(emit(State::Fail, "k", 2));
        entries.push(handle(State::Invoke, "k", 2));
        entries.push(handle(State::Ok, "k", 2));
        entries.push(handle(State::Invoke, "x", 0));
        entries.push(handle(State::Ok, "x", 0));
    });
    assert_eq!(group.invented, [event("k", 2), event("x", 0)]);
    assert_only(&violations, "never published");
}

#[test]
fn what_is_unknown_or_open_may_be_seen_or_not() {
    for (state, seen) in [(true, true), (true, false), (false, true), (false, false)] {
        let (group, violations) = with(|entries| {
            entries.push(emit(State::Invoke, "k", 2));
            if state {
                entries.push(emit(State::Unknown, "k", 2));
            }
            if seen {
                entries.push(handle(State::Invoke, "k", 2));
                entries.push(handle(State::Ok, "k", 2));
            }
        });
        assert_eq!(violations, [""; 0], "unknown {state}, seen {seen}");
        assert_eq!(group.delivered, 2 + usize::from(seen));
    }
}

#[test]
fn what_one_of_several_tries_published_may_be_seen() {
    let (_, violations) = with(|entries| {
        for state in [State::Unknown, State::Fail, State::Ok] {
            entries.push(emit(State::Invoke, "k", 2));
            entries.push(emit(state, "k", 2));
        }
        entries.push(handle(State::Invoke, "k", 2));
        entries.push(handle(State::Ok, "k", 2));
    });
    assert_eq!(violations, [""; 0]);
}

#[test]
fn a_repeat_is_counted_and_a_retry_is_none() {
    let (group, violations) = with(|entries| {
        // A suffix comes again after a crash (O5).
        for number in 0..2 {
            entries.push(handle(State::Invoke, "k", number));
            entries.push(handle(State::Ok, "k", number));
        }
    });
    assert_eq!(violations, [""; 0]);
    assert_eq!(group.repeats, 2);
    let (group, violations) = with(|entries| {
        let first = entries.len() - 5;
        entries.insert(first, handle(State::Fail, "k", 0));
        entries.insert(first, handle(State::Invoke, "k", 0));
    });
    assert_eq!(violations, [""; 0]);
    assert_eq!((group.repeats, group.failures), (0, 1));
}

#[test]
fn a_copy_under_another_id_is_no_repeat_that_dedup_stops() {
    let (group, violations) = with(|entries| {
        for state in [State::Invoke, State::Ok] {
            let mut copy = event("k", 1);
            copy.id = "another".into();
            entries.push(entry(Fact::Handle {
                group: G.into(),
                state,
                event: copy,
            }));
        }
    });
    assert_eq!(group.doubled.len(), 1);
    assert_only(&violations, "under two ids");
}

#[test]
fn a_key_out_of_order_is_seen() {
    let (group, violations) = with(|entries| {
        let first = entries.len() - 5;
        entries.swap(first, first + 2);
        entries.swap(first + 1, first + 3);
    });
    assert_eq!(group.inverted, [event("k", 0)]);
    assert_only(&violations, "after a later one");
}

#[test]
fn an_event_that_begins_before_the_one_before_it_is_final_is_seen() {
    let (group, violations) = with(|entries| {
        let first = entries.len() - 5;
        entries.swap(first + 1, first + 2);
    });
    assert_eq!(group.overtaking, [event("k", 1)]);
    assert_only(&violations, "before an earlier one");
}

#[test]
fn other_keys_have_an_order_of_their_own() {
    let (_, violations) = with(|entries| {
        for (key, number) in [("a", 9), ("b", 3)] {
            entries.push(emit(State::Invoke, key, number));
            entries.push(handle(State::Invoke, key, number));
        }
        for (key, number) in [("b", 3), ("a", 9)] {
            entries.push(handle(State::Ok, key, number));
        }
    });
    assert_eq!(violations, [""; 0]);
}

#[test]
fn what_is_begun_and_never_final_is_seen() {
    let (group, violations) = with(|entries| {
        entries.push(emit(State::Invoke, "k", 2));
        entries.push(emit(State::Unknown, "k", 2));
        entries.push(handle(State::Invoke, "k", 2));
    });
    assert_eq!(group.unfinished, [event("k", 2)]);
    assert_only(&violations, "never final");
}

#[test]
fn a_commit_ahead_of_the_handler_is_seen() {
    let (group, violations) = with(|entries| {
        let commit = entries.pop().expect("a commit");
        entries.insert(entries.len() - 1, commit);
    });
    assert_eq!(group.committed_early, [event("k", 1)]);
    assert_only(&violations, "before they were final");
}

#[test]
fn a_commit_that_goes_back_is_seen() {
    let (group, violations) = with(|entries| entries.push(committed(1)));
    assert_eq!(group.went_back, [at(1)]);
    assert_only(&violations, "went back, the first to t 0@1");
}

#[test]
fn attempts_are_counted_and_timed() {
    let mut entries = Vec::new();
    let times = [
        (State::Invoke, 10),
        (State::Unknown, 40),
        (State::Invoke, 50),
        (State::Fail, 60),
        (State::Invoke, 70),
    ];
    for (state, at) in times {
        let mut emit = emit(state, "k", 0);
        emit.at = at;
        entries.push(emit);
    }
    let report = check(&entries, &[]);
    assert_eq!((report.emitted, report.ok), (1, 0));
    assert_eq!(
        (report.unknown, report.not_published, report.open),
        (1, 1, 1)
    );
    assert_eq!(report.slowest, Duration::from_micros(30));
    let text = report.to_string();
    assert!(text.contains("1 NotPublished, 1 Unknown, 1 open"), "{text}");
}
