//! One program, without a word about transports: steps of accounts, walked by two groups, some of
//! them stumbling, some falling for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{Bus, Delivery, Event, Failure, Group, RetryPolicy, Start, permanent};
use tokio::sync::watch;

pub(crate) const KEYS: u32 = 7;
pub(crate) const STEPS: u32 = 210;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "swap.step", version = 1, key = account)]
struct Step {
    account: String,
    number: u32,
}

/// What a walker emits for each step that it took.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "swap.walked", version = 1, key = account)]
struct Walked {
    account: String,
    number: u32,
}

/// Per handler and key, what was handled, in order, each once: what was done behind an unfinished
/// event comes again after a restart (D3), which is nobody's history (O5).
pub(crate) type Handled = BTreeMap<(&'static str, String), Vec<u32>>;

/// What became of everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) handled: Handled,
    /// Group, handler, reason, data. Not the attempts: some transports count those of before a
    /// restart, some do not.
    pub(crate) dead: BTreeSet<(String, String, String, String)>,
}

/// Where handlers write down what they did.
#[derive(Clone, Debug)]
pub(crate) struct Diary {
    handled: Arc<Mutex<Handled>>,
    count: watch::Sender<usize>,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self {
            handled: Arc::default(),
            count: watch::Sender::new(0),
        }
    }

    fn note(&self, handler: &'static str, key: &str, number: u32) {
        let mut handled = self.handled.lock().unwrap();
        let key = (handler, key.to_owned());
        let numbers = handled.entry(key).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
            self.count.send_modify(|count| *count += 1);
        }
    }

    /// Waits until so many entries were made.
    pub(crate) async fn reaches(&self, entries: usize) {
        let mut count = self.count.subscribe();
        count.wait_for(|count| *count >= entries).await.unwrap();
    }
}

async fn walk(state: (Bus, Diary), step: Delivery<Step>) -> Result<(), Failure> {
    let (bus, diary) = state;
    match step.number % 17 {
        3 => return Err(permanent("fell")),
        5 if step.attempt() < 3 => return Err("stumbled".into()),
        7 if step.attempt() < 2 => std::panic::resume_unwind(Box::new("tripped")),
        11 => return Err("never learns".into()),
        _ => {}
    }
    bus.emit(Walked {
        account: step.account.clone(),
        number: step.number,
    })
    .await?;
    diary.note("walk", &step.account, step.number);
    Ok(())
}

async fn watch_step(diary: Diary, step: Step) {
    diary.note("watch", &step.account, step.number);
}

async fn count_walked(diary: Diary, walked: Walked) {
    diary.note("count", &walked.account, walked.number);
}

const GROUPS: [&str; 2] = ["walkers", "watchers"];

/// The program's handlers.
pub(crate) fn register(bus: &Bus, diary: &Diary) {
    let group = |name: &str| -> Group {
        let quick = RetryPolicy::exponential()
            .attempts(4)
            .base(Duration::from_millis(2))
            .cap(Duration::from_millis(10));
        bus.group(name).start_at(Start::Latest).retry(quick)
    };
    group(GROUPS[0]).with((bus.clone(), diary.clone())).on(walk);
    let watchers = group(GROUPS[1]).with(diary.clone());
    watchers.on(watch_step);
    watchers.on(count_walked);
}

/// Emits some steps.
pub(crate) async fn emit(bus: &Bus, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let account = format!("account-{}", number % KEYS);
        let step = Step { account, number };
        let id = format!("step-{number}");
        bus.emit(step.clone()).id(&*id).await.unwrap();
        if number % 25 == 0 {
            // Again, as a client does that lost the answer.
            bus.emit(step).id(&*id).await.unwrap();
        }
    }
}

/// Reads the history, when all is done.
pub(crate) async fn history(bus: &Bus, diary: &Diary) -> History {
    let mut dead = BTreeSet::new();
    for group in GROUPS {
        for letter in bus.dead_letters(group).list().await.unwrap() {
            dead.insert((
                group.to_owned(),
                letter.handler().to_owned(),
                letter.reason().to_owned(),
                String::from_utf8_lossy(&letter.bytes()).into_owned(),
            ));
        }
    }
    History {
        handled: diary.handled.lock().unwrap().clone(),
        dead,
    }
}
