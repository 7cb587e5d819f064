use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings_transport::ErrorKind;
use tokio::time::Instant;

use super::Bus;
use super::error::{RunError, ShutdownError, StartError, WouldDeadlock};
use super::live::LiveGroup;
use crate::emit::running_handler;
use crate::text::chain;

/// What a shutdown came to (contract S2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Handler shares that reached their final state while the bus drained.
    pub finished: u64,
    /// Deliveries given back unfinished: they will be delivered again where the transport is
    /// durable, and are lost with the process in memory.
    pub handed_back: usize,
    /// Handlers that still ran at the drain deadline and were dropped; their deliveries were given
    /// back as well.
    pub abandoned: usize,
    /// Publishes whose outcome is unknown.
    pub unflushed: usize,
    /// Groups and the transport, where closing them failed, with the error.
    pub errors: Vec<String>,
}

impl ShutdownReport {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.handed_back == 0
            && self.abandoned == 0
            && self.unflushed == 0
            && self.errors.is_empty()
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "finished {}, handed back {}, abandoned {}, unflushed {}",
            self.finished, self.handed_back, self.abandoned, self.unflushed
        )?;
        self.errors
            .iter()
            .try_for_each(|error| write!(f, "; {error}"))
    }
}

impl Bus {
    /// Checks every registration and starts consuming.
    ///
    /// In memory handlers consume from their registration on, and this only checks. Starting
    /// twice is harmless.
    ///
    /// # Errors
    ///
    /// Everything wrong with the registrations, all at once; or the transport's error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave some groups consuming and others not; call it again.
    pub async fn start(&self) -> Result<(), StartError> {
        let errors = self.registry().cold().errors.clone();
        if !errors.is_empty() {
            return Err(StartError::listed(errors));
        }
        let groups = self.registry().groups();
        let topology = self.topology();
        self.core().transport.declare(&topology).await?;
        self.core().declared.note(&topology.topics);
        self.core().started.store(true, Ordering::Release);
        groups.iter().for_each(|group| self.run_group(group));
        Ok(())
    }

    /// Starts, runs until SIGINT or SIGTERM, then shuts down.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`shutdown`](Self::shutdown); `Aborted` when a second signal
    /// comes while the first one's shutdown drains.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the bus running.
    pub async fn run(&self) -> Result<ShutdownReport, RunError> {
        self.start().await?;
        let mut signals = Signals::new()?;
        signals.next().await;
        tracing::info!("signal received: shutting down");
        tokio::select! {
            report = self.shutdown() => Ok(report?),
            () = signals.next() => Err(RunError::Aborted),
        }
    }

    /// Waits until nothing is left to do: every event that was emitted, and every one that its
    /// handlers emitted, is in its final state, backoff and delays included.
    ///
    /// A group that was told to stop after a dead letter, and did, is not waited for; a paused one
    /// is. Other processes' work on a broker is not waited for beyond what the groups of this bus
    /// have to handle.
    ///
    /// # Errors
    ///
    /// `WouldDeadlock` inside a handler.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self) -> Result<(), WouldDeadlock> {
        self.refuse_inside_handler("the bus to settle")?;
        let watch = self.core().idle.watch();
        loop {
            let changed = watch.next();
            if self.backlog().await == Some(0) {
                return Ok(());
            }
            if self.core().capabilities.durable {
                // What another process does changes nothing here.
                let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
            } else {
                changed.await;
            }
        }
    }

    /// Stops taking emits, drains what was taken, closes everything (contract S1–S3).
    ///
    /// Emits from outside handlers end with Closed at once; a draining handler may emit until the
    /// drain deadline. A waiting retry runs its next attempt at once; what then fails is handed
    /// back. In memory the queues are drained. It returns within the drain deadline (30 s unless
    /// set) plus one second. A second call is harmless and finds nothing left.
    ///
    /// # Errors
    ///
    /// `Unfinished` with the report when anything was handed back, abandoned or unflushed;
    /// `WouldDeadlock` inside a handler.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the bus draining; call it again to finish.
    pub async fn shutdown(&self) -> Result<ShutdownReport, ShutdownError> {
        self.refuse_inside_handler("the shutdown")
            .map_err(ShutdownError::WouldDeadlock)?;
        let core = self.core();
        let until = Instant::now() + core.config.drain;
        core.closing.store(true, Ordering::Release);
        // After a registration that is under way, and before any that would come later.
        let groups = {
            let _registering = self.registry().registering();
            let mut groups = self.registry().groups();
            groups.extend(self.registry().replays());
            groups
        };
        let before = finals(&groups);
        self.registry().refresh();
        groups.iter().for_each(|group| group.core.draining.cancel());
        // What is not drained by then is counted below.
        let _ = tokio::time::timeout_at(until, self.drained(&groups)).await;
        core.closed.cancel();

        let left = || {
            until
                .saturating_duration_since(Instant::now())
                .max(LAST_MOMENT)
        };
        let mut report = ShutdownReport::default();
        let closing = groups.iter().map(|group| group.close(left()));
        for (group, closed) in groups.iter().zip(futures::future::join_all(closing).await) {
            report.handed_back += closed.handed_back;
            report.abandoned += closed.abandoned;
            report.errors.extend(
                closed
                    .error
                    .map(|error| format!("group {}: {}", group.core.name, chain(&error))),
            );
        }
        report.finished = finals(&groups) - before;
        match tokio::time::timeout(left(), core.transport.close(left())).await {
            Ok(Ok(closed)) => {
                report.unflushed = closed.unflushed;
                if !core.capabilities.durable {
                    // What never left a queue in this process counts as well.
                    let queued = closed.unsettled.saturating_sub(report.abandoned);
                    report.handed_back = report.handed_back.max(queued);
                }
            }
            Ok(Err(error)) => report.errors.push(format!("transport: {}", chain(&error))),
            Err(_) => report
                .errors
                .push(String::from("transport: did not close in time")),
        }
        self.registry().clear();
        if report.is_clean() {
            Ok(report)
        } else {
            Err(ShutdownError::Unfinished(report))
        }
    }

    fn refuse_inside_handler(&self, what: &'static str) -> Result<(), WouldDeadlock> {
        match running_handler() {
            Some((bus, ..)) if bus == self.core().id => Err(WouldDeadlock { what }),
            _ => Ok(()),
        }
    }

    /// How each group stands, in words.
    #[cfg(feature = "testing")]
    pub(crate) async fn standings(&self) -> Vec<String> {
        let mut standings = Vec::new();
        for group in self.registry().groups() {
            let behind = match self.lags(std::slice::from_ref(&group)).await {
                Some((_, behind)) => behind.to_string(),
                None => String::from("an unknown number of"),
            };
            let stats = group.core.counters.stats();
            let state = match (stats.stopped, group.core.gate.is_closed()) {
                (true, _) => ", stopped",
                (false, true) => ", paused because nearly everything fails",
                (false, false) => "",
            };
            standings.push(format!(
                "group {}: {behind} events not final, {} of them taken; {} completed, {} dead-lettered{state}",
                group.core.name, stats.unsettled, stats.completed, stats.dead_lettered
            ));
        }
        standings
    }

    /// Deliveries not final yet, over all groups; `None` while that is changing too fast to tell.
    async fn backlog(&self) -> Option<u64> {
        // A group that stopped after a dead letter has nothing left to do.
        let mut groups = self.registry().groups();
        groups.retain(|group| !group.core.counters.stats().stopped);
        let first = self.lags(&groups).await?;
        let again = self.lags(&groups).await?;
        // The same ends again: nothing was published since the first look at any group, so what that
        // saw was true of all of them at once, and no cascade was missed.
        (first.0 == again.0).then_some(first.1)
    }

    /// What was ever published to the groups, and how much of it is not final; `None` where the
    /// transport could not tell now.
    async fn lags(&self, groups: &[Arc<LiveGroup>]) -> Option<(u64, u64)> {
        let (mut end, mut behind) = (0, 0);
        for group in groups {
            match self.core().transport.lag(&group.core.name).await {
                Ok(lags) => {
                    end += lags.iter().map(|lag| lag.end).sum::<u64>();
                    behind += lags.iter().map(tidings_transport::Lag::behind).sum::<u64>();
                }
                // Without a measure, what the group has taken is what is known.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    behind += group.core.counters.stats().unsettled as u64;
                }
                // A group that was never attached, or whose transport is closed, has nothing to do.
                Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Closed) => {}
                Err(error) => {
                    tracing::debug!(group = %group.core.name, %error, "no lag could be read");
                    return None;
                }
            }
        }
        Some((end, behind))
    }

    pub(super) async fn drained(&self, groups: &[Arc<LiveGroup>]) {
        let watch = self.core().idle.watch();
        loop {
            let changed = watch.next();
            if self.is_drained(groups).await {
                return;
            }
            changed.await;
        }
    }

    async fn is_drained(&self, groups: &[Arc<LiveGroup>]) -> bool {
        let (stopped, live): (Vec<_>, Vec<_>) = groups
            .iter()
            .cloned()
            .partition(|group| group.core.counters.stats().stopped);
        // A group that stopped takes nothing more, but what runs in it may end.
        let runs = |group: &Arc<LiveGroup>| {
            let counters = &group.core.counters;
            counters.stats().unsettled > counters.handed_back()
        };
        if stopped.iter().any(runs) {
            return false;
        }
        let kept: u64 = live
            .iter()
            .map(|group| group.core.counters.handed_back() as u64)
            .sum();
        if self.core().capabilities.durable {
            // What was not taken stays where it is; only what was taken is waited for.
            let taken: u64 = live
                .iter()
                .map(|group| group.core.counters.stats().unsettled as u64)
                .sum();
            return taken <= kept;
        }
        match (self.lags(&live).await, self.lags(&live).await) {
            (Some((first, _)), Some((again, behind))) => first == again && behind <= kept,
            _ => false,
        }
    }
}

/// How often a bus on a broker looks whether it has settled.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What closing a group or the transport gets at least, so that a drain that used up its deadline
/// still ends in order; together they stay under the second that S2 allows.
const LAST_MOMENT: Duration = Duration::from_millis(400);

fn finals(groups: &[Arc<LiveGroup>]) -> u64 {
    groups
        .iter()
        .map(|group| group.core.counters.stats())
        .map(|stats| stats.completed + stats.dead_lettered + stats.duplicates + stats.skipped)
        .sum()
}

/// SIGINT and, on Unix, SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
