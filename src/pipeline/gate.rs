use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_transport::Name;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pause::{Breaker, PausePolicy, State};
use super::retry::GivenUp;

/// The gate that every attempt of a group passes: open, or, while the group is paused, open for
/// one probe now and then (contract R2).
#[derive(Debug)]
pub(crate) struct Gate {
    group: Name,
    breaker: Mutex<Breaker>,
    /// Mirrors the breaker, so that an open gate costs one load.
    closed: AtomicBool,
    changed: Notify,
}

/// What the gate says.
pub(crate) enum Pass<'a> {
    Open,
    Probe(Probe<'a>),
    /// The wait ended because the group drains or the delivery was revoked.
    Cancelled,
}

impl Gate {
    pub(crate) fn new(group: Name, policy: PausePolicy) -> Self {
        Self {
            group,
            breaker: Mutex::new(Breaker::new(policy)),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Cancel safe: a probe that was handed out and dropped unused counts as lost.
    pub(crate) async fn pass(
        &self,
        draining: &CancellationToken,
        revoked: &CancellationToken,
    ) -> Pass<'_> {
        while self.is_closed() {
            let changed = self.changed.notified();
            let until = {
                let mut breaker = self.breaker();
                match breaker.state() {
                    State::Running => break,
                    State::Paused { probe_at } if probe_at <= Instant::now() => {
                        breaker.probe_started();
                        return Pass::Probe(Probe {
                            gate: self,
                            told: false,
                        });
                    }
                    State::Paused { probe_at } => Some(probe_at),
                    State::Probing => None,
                }
            };
            let due = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = changed => {}
                () = draining.cancelled() => return Pass::Cancelled,
                () = revoked.cancelled() => return Pass::Cancelled,
            }
        }
        Pass::Open
    }

    /// Successes since the last call, counted by the worker.
    pub(crate) fn record_successes(&self, count: u32, now: Instant) {
        self.breaker().record_successes(count, now);
    }

    /// A handler gave up; whether the group is paused now, so that the delivery is to be kept.
    pub(crate) fn gave_up(&self, why: GivenUp, probe: Option<Probe<'_>>) -> bool {
        if !why.counts_towards_pause() {
            return false;
        }
        match probe {
            Some(probe) => probe.tell(false),
            None => {
                self.update(|breaker| breaker.record_failure(Instant::now()));
            }
        }
        self.is_closed()
    }

    fn update(&self, change: impl FnOnce(&mut Breaker)) {
        {
            let mut breaker = self.breaker();
            let was = breaker.should_park();
            change(&mut breaker);
            let is = breaker.should_park();
            self.closed.store(is, Ordering::Release);
            if is && !was {
                tracing::error!(group = %self.group, "nearly every event of the group fails: paused, one event is tried now and then");
            } else if was && !is {
                tracing::info!(group = %self.group, "an event of the paused group was handled: resumed");
            }
        }
        self.changed.notify_waiters();
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one attempt while the group is paused.
pub(crate) struct Probe<'a> {
    gate: &'a Gate,
    told: bool,
}

impl Probe<'_> {
    /// How the attempt ended.
    pub(crate) fn tell(mut self, success: bool) {
        self.told = true;
        self.gate
            .update(|breaker| breaker.probe_result(success, Instant::now()));
    }
}

/// Dropped untold it said nothing about the group: the next one is tried after the same wait.
impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.gate
                .update(|breaker| breaker.probe_lost(Instant::now()));
        }
    }
}
