use std::fmt;
use std::sync::{Arc, Weak};

use tidings_transport::{Lag, Name, Start, Timestamp, TransportError};
use tokio::sync::oneshot;

use super::live::LiveGroup;
use super::supervised::Cursor;
use super::{Bus, Group, GroupStats, Inner};
use crate::pipeline::Ended;

/// Where a replay begins and, if not with what is there now, ends: see [`Group::replay`].
///
/// Write it as `tidings::From`, so that it does not hide the standard library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says where a replay begins: pass it to `replay`"]
pub struct From {
    start: Start,
    until: Option<Timestamp>,
}

impl From {
    /// With the oldest event still there.
    pub const fn beginning() -> Self {
        Self::start(Start::Earliest)
    }

    /// With the first event published at or after a moment, by the times that the broker keeps with
    /// the events; on Kafka the producer's clock sets them, unless the topic says otherwise.
    pub const fn timestamp(moment: Timestamp) -> Self {
        Self::start(Start::At(moment))
    }

    /// With the event at this offset of each partition; a partition that is shorter is left out. A
    /// [`Receipt`](crate::Receipt) tells an event's offset.
    pub const fn offset(offset: i64) -> Self {
        Self::start(Start::Offset(offset))
    }

    /// Ends before the first event published at or after a moment. Without it a replay ends with what
    /// was there when it began.
    pub const fn until(mut self, moment: Timestamp) -> Self {
        self.until = Some(moment);
        self
    }

    const fn start(start: Start) -> Self {
        Self { start, until: None }
    }

    /// What is wrong with it, before anything is asked of the broker (misuse 85).
    fn check(&self, now: Timestamp) -> Result<(), String> {
        let begins = match self.start {
            Start::At(moment) => Some(moment),
            _ => None,
        };
        if let Start::Offset(offset @ ..0) = self.start {
            return Err(format!("offset {offset} is none: use 0 or more"));
        }
        for moment in begins.into_iter().chain(self.until) {
            if moment > now {
                return Err(format!(
                    "{moment} lies in the future: nothing was published then"
                ));
            }
        }
        match (begins, self.until) {
            (Some(begin), Some(end)) if begin >= end => Err(format!(
                "from {begin} until {end} is no range: the end must come after the beginning"
            )),
            _ => Ok(()),
        }
    }
}

/// Why there is no replay, or why it ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The range is empty, reversed or not of the past.
    #[error("nothing can be replayed: {0}")]
    Range(String),
    /// The group has no handler that a replay may call.
    #[error("group {0:?} has no handler that replays: register it with `.replayable().on(..)`")]
    NoHandler(Name),
    /// The group is being replayed.
    #[error("group {0:?} is being replayed: wait for that one, or stop it")]
    Running(Name),
    /// The transport keeps no history.
    #[error("transport {0} keeps no history to replay: use one that does, such as kafka")]
    Unsupported(&'static str),
    /// It was stopped, or the bus was shut down.
    #[error("the replay was stopped before its end")]
    Stopped,
    /// The transport failed. What was read was handled; another replay begins anew.
    #[error("the replay cannot go on")]
    Transport(#[from] TransportError),
}

/// How far a [`Replay`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// Offsets behind it, all partitions together.
    pub done: u64,
    /// As [`Replay::total`].
    pub total: u64,
    /// How far it is in each partition.
    pub partitions: Vec<Lag>,
}

/// A replay that runs: see [`Group::replay`].
///
/// Dropping it ends it: no further handler is called, and what runs is dropped. Another replay of the
/// group can begin a moment later, or once [`stop`](Self::stop) is done.
#[must_use = "dropping a replay ends it: await `finished`"]
pub struct Replay {
    bus: Bus,
    group: Arc<LiveGroup>,
    name: Name,
    begun: Vec<Lag>,
    ended: oneshot::Receiver<Result<Ended, TransportError>>,
}

/// Keeps a second replay of a group away, as long as the task of the first one lives.
struct Place {
    bus: Weak<Inner>,
    group: Name,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.registry.end_replay(&self.group);
        }
    }
}

impl Group {
    /// Hands history to this group's [`replayable`](Self::replayable) handlers once more: to rebuild
    /// a projection, or to fill a new one.
    ///
    /// # Guarantee
    ///
    /// It has a cursor of its own and moves no group, the live one neither; it may run beside that,
    /// before [`Bus::start`] or without it (contract Y1). Events keep id, time, version, key and
    /// order per key, and pass upcasting, middleware, retry and deadline as live ones do; nothing is
    /// a duplicate of what was live. One that fails for good goes to the group's dead letters, where
    /// it replaces an entry of the same event and handler. An emit inside a handler is
    /// [`Reason::Replay`](crate::Reason::Replay), unless the group is
    /// [`emits_in_replay`](Self::emits_in_replay) (contract Y2).
    ///
    /// Group and bus middleware is called as for a live event, and what it publishes itself is not
    /// held back. A handler that passes a refused emit on as its own error fails like with any other:
    /// it is retried, and if nearly all fail the replay pauses.
    ///
    /// It ends with what was there when it began, or, in a group that is told to
    /// [`StopGroup`](crate::AfterDeadLetter::StopGroup), as `Stopped` behind its first dead letter. A
    /// replay that fails or is stopped is not gone on with: the next one begins anew, and its handlers
    /// must take that into account.
    ///
    /// ```no_run
    /// # use tidings::{Bus, Event};
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
    /// # #[event(name = "order.placed", version = 1)]
    /// # struct OrderPlaced { total_cents: u64 }
    /// # async fn add_up(_: OrderPlaced) {}
    /// # async fn demo(bus: &Bus) -> Result<(), tidings::ReplayError> {
    /// let totals = bus.group("totals");
    /// totals.replayable().on(add_up);
    /// let replay = totals.replay(tidings::From::beginning()).await?;
    /// println!("{} offsets to read", replay.total());
    /// let stats = replay.finished().await?;
    /// println!("{} handled, {} failed", stats.completed, stats.dead_lettered);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A range that is reversed, of the future or, by offset, no longer there (`DataLoss`); no
    /// replayable handler; a replay of this group that runs; a transport that keeps no history, or
    /// its error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends what had begun.
    pub async fn replay(&self, from: From) -> Result<Replay, ReplayError> {
        let core = self.bus.core();
        if !core.capabilities.replay {
            return Err(ReplayError::Unsupported(core.transport.system()));
        }
        from.check(core.clock.now()).map_err(ReplayError::Range)?;
        let wire = self.wire_name();
        // A shutdown sees the replay, or the replay sees the shutdown.
        let registering = self.bus.registry().registering();
        if core.is_closing() {
            return Err(ReplayError::Stopped);
        }
        let live = self.bus.registry().find_group(&wire);
        let handlers = live.as_ref().map(|live| live.handlers());
        let handlers = handlers.unwrap_or_default();
        let Some(live) = live.filter(|_| handlers.iter().any(|it| it.is_replayable())) else {
            return Err(ReplayError::NoHandler(wire));
        };
        let group = Arc::new(LiveGroup::new(Arc::new(live.core.for_replay())));
        group.fill(
            handlers
                .iter()
                .map(|it| it.in_replay(&group.core))
                .collect(),
        );
        let cursor = Cursor {
            name: Name::from(format!("{wire}#replay")),
            start: from.start,
            until: from.until,
        };
        if !self.bus.registry().begin_replay(&group) {
            return Err(ReplayError::Running(wire));
        }
        let place = Place {
            bus: Arc::downgrade(&self.bus.inner),
            group: wire.clone(),
        };
        let (opens, opened) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let mut replay = Replay {
            bus: self.bus.clone(),
            group,
            name: cursor.name.clone(),
            begun: Vec::new(),
            ended,
        };
        self.bus.watch(&replay.group, || {
            replay.group.replay(cursor, opens, ends, place)
        });
        drop(registering);
        replay.begun = opened.await.map_err(|_| ReplayError::Stopped)??;
        tracing::info!(group = %wire, ?from, offsets = replay.total(), "a replay begins");
        Ok(replay)
    }
}

impl Replay {
    /// Offsets from its beginning to its end, all partitions together. A broker leaves some without
    /// an event: those of compacted and of transactional topics.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.begun.iter().map(Lag::behind).sum()
    }

    /// How far it is.
    ///
    /// # Errors
    ///
    /// The transport's; `Missing` once the replay is over: [`finished`](Self::finished) tells how.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn progress(&self) -> Result<ReplayProgress, TransportError> {
        let total = self.total();
        let transport = &self.bus.core().transport;
        let partitions = transport.lag(&self.name).await?;
        let left: u64 = partitions.iter().map(Lag::behind).sum();
        Ok(ReplayProgress {
            done: total.saturating_sub(left),
            total,
            partitions,
        })
    }

    /// Waits for its end; tells what its handlers did.
    ///
    /// # Errors
    ///
    /// `Stopped` when the bus was shut down, `Transport` when it cannot go on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the replay.
    pub async fn finished(mut self) -> Result<GroupStats, ReplayError> {
        let ended = (&mut self.ended).await;
        let stats = self.group.core.counters.stats();
        tracing::info!(group = %self.group.core.name, ?stats, "a replay ended");
        match ended {
            Ok(Ok(Ended::Finished)) => Ok(stats),
            Ok(Ok(Ended::Closed | Ended::QueueGone)) | Err(_) => Err(ReplayError::Stopped),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Ends it, and waits until no handler of it runs: those that run have until the drain deadline
    /// of the bus. Tells what its handlers did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the replay without waiting.
    pub async fn stop(mut self) -> GroupStats {
        let group = Arc::clone(&self.group);
        let drain = self.bus.core().config.drain;
        group.core.draining.cancel();
        // What does not end by then is dropped.
        let drained = self.bus.drained(std::slice::from_ref(&group));
        let _ = tokio::time::timeout(drain, drained).await;
        group.close(drain).await;
        // Its task is done, however it ended.
        let _ = (&mut self.ended).await;
        group.core.counters.stats()
    }

    /// What its handlers did so far.
    #[must_use]
    pub fn stats(&self) -> GroupStats {
        self.group.core.counters.stats()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.group.abort();
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("group", &self.group.core.name)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
