//! Reports groups that do not run because a handler blocks their thread (contract M2, misuse 69).
//!
//! An async handler that computes for seconds or calls blocking code keeps its thread from polling
//! anything else. No task can report that, so one OS thread per bus does: it asks each worker for a
//! sign of life through the command channel, which the hot path never touches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};

/// A group that may be asked for a sign of life.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Asks; `false` when nothing runs that could answer.
    fn ask(&self) -> bool;
    fn pulse(&self) -> &Pulse;
    /// The group's name on the wire.
    fn name(&self) -> &str;
    /// The handlers that are being polled now, by name.
    fn polled(&self) -> Vec<String>;
}

/// A worker's signs of life.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// A worker's loop runs; only then an answer can be expected.
    live: AtomicBool,
    answers: AtomicU64,
    /// The handler that the worker polls on its own task, by subscription; 0 for none.
    polled: AtomicU64,
}

impl Pulse {
    /// The worker's loop runs until the guard is dropped.
    pub(crate) fn live(pulse: &Arc<Self>) -> Live {
        pulse.live.store(true, Ordering::Release);
        Live(Arc::clone(pulse))
    }

    pub(crate) fn answer(&self) {
        self.answers.fetch_add(1, Ordering::Release);
    }

    /// Who is polled on the worker's own task from now on. One relaxed store, and the worker calls
    /// it only when that changes.
    #[inline]
    pub(crate) fn polls(&self, subscription: u64) {
        self.polled.store(subscription, Ordering::Relaxed);
    }

    pub(crate) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }
}

/// See [`Pulse::live`].
pub(crate) struct Live(Arc<Pulse>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.store(false, Ordering::Release);
        self.0.polls(0);
    }
}

/// Watches the groups of one bus, on a thread that begins with the first group and ends with the
/// bus.
#[derive(Default)]
pub(crate) struct Watchdog {
    running: Mutex<Option<mpsc::SyncSender<Weak<dyn Watched>>>>,
}

/// How often groups are asked. A block that begins right after an answer is noticed two rounds
/// later: within the 5 s that contract M2 allows, with a second to spare.
const ROUND: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many groups may wait to be watched while the thread is busy.
const WAITING: usize = 64;

impl Watchdog {
    /// Watches a group from now on, as long as it lives.
    pub(crate) fn watch(&self, group: Weak<dyn Watched>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = match &*running {
            Some(watch) => watch.clone(),
            None => {
                let (watch, groups) = mpsc::sync_channel(WAITING);
                // A subscriber that is the thread's own, as in tests, hears the reports too.
                let dispatch = dispatcher::get_default(Dispatch::clone);
                let spawned = std::thread::Builder::new()
                    .name(String::from("tidings-watchdog"))
                    .spawn(move || dispatcher::with_default(&dispatch, || run(&groups)));
                if let Err(error) = spawned {
                    tracing::warn!(%error, "no watchdog: blocking handlers will not be reported");
                    return;
                }
                *running = Some(watch.clone());
                watch
            }
        };
        drop(running);
        // The thread takes groups at once; only a subscriber that blocks could keep it.
        if watch.try_send(group).is_err() {
            tracing::warn!(
                "the watchdog is busy: a group's blocking handlers will not be reported"
            );
        }
    }
}

/// A group and when it was asked what it has not answered.
struct Asked {
    group: Weak<dyn Watched>,
    since: Option<Instant>,
    answers: u64,
    reported: bool,
}

/// Until the bus, which holds the other end, is gone.
fn run(groups: &mpsc::Receiver<Weak<dyn Watched>>) {
    let mut watched: Vec<Asked> = Vec::new();
    let mut next = Instant::now() + ROUND;
    loop {
        match groups.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(group) => {
                watched.push(Asked {
                    group,
                    since: None,
                    answers: 0,
                    reported: false,
                });
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        watched.retain_mut(|asked| match asked.group.upgrade() {
            Some(group) => {
                asked.look(&*group);
                true
            }
            None => false,
        });
        next = Instant::now() + ROUND;
    }
}

impl Asked {
    fn look(&mut self, group: &dyn Watched) {
        let pulse = group.pulse();
        let answers = pulse.answers.load(Ordering::Acquire);
        let waits = self.since.filter(|_| {
            // Who does not run, because it is closed or connects again, owes no answer.
            pulse.live.load(Ordering::Acquire) && answers == self.answers
        });
        match waits {
            Some(since) => {
                if since.elapsed() >= PATIENCE && !self.reported {
                    self.reported = true;
                    report(group, since.elapsed());
                }
            }
            None => {
                if self.reported {
                    tracing::info!(group = %group.name(), "group runs again");
                }
                self.reported = false;
                self.answers = answers;
                self.since = (pulse.live.load(Ordering::Acquire) && group.ask()).then(Instant::now);
            }
        }
    }
}

fn report(group: &dyn Watched, blocked: Duration) {
    let handlers = group.polled();
    let handlers = if handlers.is_empty() {
        String::from("none of this group: something else blocks the runtime")
    } else {
        handlers.join(", ")
    };
    tracing::error!(
        group = %group.name(),
        handlers,
        blocked_for = ?blocked,
        "group does not run: a handler blocks its thread; move blocking work to spawn_blocking"
    );
}
