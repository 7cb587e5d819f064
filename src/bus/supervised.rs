//! The task of a group: it runs workers, one after the other.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use tidings_transport::{
    DynConsumer, ErrorKind, Lag, Mode, Name, Start, Subscribe, Timestamp, Topics, Topology,
    TransportError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::core::GroupCore;
use super::live::{Running, topics};
use super::registry::Table;
use crate::pipeline::{Closed, Command, Ended, Worker};
use crate::text::chain;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a replay begins and ends.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) name: Name,
    pub(super) start: Start,
    pub(super) until: Option<Timestamp>,
}

/// Dropped before its end: the runtime is gone, and nobody will ever handle what is emitted.
struct Ends<'a> {
    core: &'a GroupCore,
    ended: bool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let bus = &self.core.bus;
        if !self.ended && !bus.closing.swap(true, Ordering::AcqRel) {
            bus.closed.cancel();
            tracing::error!(
                group = %self.core.name,
                "the runtime that the bus was built on has ended without a shutdown: emits are refused from now on"
            );
        }
    }
}

/// What the task needs: no handler beside the table, and no bus.
pub(super) struct Supervised {
    pub(super) core: Arc<GroupCore>,
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) running: Arc<Mutex<Option<Running>>>,
}

impl Supervised {
    /// Runs workers until one is closed; one that breaks is followed by another.
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Command>) {
        let mut ends = Ends {
            core: &self.core,
            ended: false,
        };
        self.work(&mut inbox).await;
        ends.ended = true;
    }

    /// One worker, and no other after it: what a second one would read had been handled.
    pub(super) async fn replay(
        self,
        cursor: Cursor,
        mut inbox: mpsc::Receiver<Command>,
        opened: oneshot::Sender<Result<Vec<Lag>, TransportError>>,
        ended: oneshot::Sender<Result<Ended, TransportError>>,
        place: impl Send + 'static,
    ) {
        let mode = Mode::Replay {
            until: cursor.until,
        };
        let consumer = match self.open(&cursor.name, cursor.start, mode).await {
            Ok(consumer) => consumer,
            Err(error) => {
                // Free before anybody is told, for who tries again.
                drop(place);
                // Who asked may have gone.
                let _ = opened.send(Err(error));
                return;
            }
        };
        // Before anything is handled.
        let begun = self.core.bus.transport.lag(&cursor.name).await;
        if opened.send(begun).is_ok() {
            let end = self.run_worker(consumer, &mut inbox).await;
            drop(place);
            let _ = ended.send(end);
        }
    }

    async fn work(&self, inbox: &mut mpsc::Receiver<Command>) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.end_without_handlers() {
                return;
            }
            let begun = Instant::now();
            let error = match self.once(inbox).await {
                Ok(Ended::Closed | Ended::Finished) => return,
                Ok(Ended::QueueGone) => continue,
                Err(error) => error,
            };
            if matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::Fenced) {
                // contract: D7, going on would hide it
                tracing::error!(
                    group = %self.core.name,
                    error = chain(&error),
                    "group halted: messages are lost, or another instance took over"
                );
                self.core.counters.stop();
                return;
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::error!(
                group = %self.core.name,
                error = chain(&error),
                again_in = ?pause,
                "group is not consuming"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                command = inbox.recv() => match command.map(answer_idle) {
                    Some(false) => {}
                    Some(true) | None => return,
                },
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Ends the task if the group has no handler left; the next one that is added starts another.
    fn end_without_handlers(&self) -> bool {
        // Under the lock that `start` takes: a handler added before it is seen here, and one added
        // after it finds no task.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = self.table.load().handlers.is_empty();
        if ends {
            *running = None;
        }
        ends
    }

    /// One worker, from subscribe to its end.
    async fn once(&self, inbox: &mut mpsc::Receiver<Command>) -> Result<Ended, TransportError> {
        let settings = &self.core.settings;
        let consumer = self
            .open(&self.core.name, settings.start, settings.mode)
            .await?;
        self.run_worker(consumer, inbox).await
    }

    /// A worker to its end; a panic of ours is an error like any other.
    async fn run_worker(
        &self,
        consumer: Box<dyn DynConsumer>,
        inbox: &mut mpsc::Receiver<Command>,
    ) -> Result<Ended, TransportError> {
        let (core, table) = (Arc::clone(&self.core), Arc::clone(&self.table));
        let worker = Worker::new(core, consumer, table, inbox).run();
        std::panic::AssertUnwindSafe(worker)
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| {
                Err(TransportError::new(
                    ErrorKind::Other,
                    crate::text::panic_message(panic),
                ))
            })
    }

    /// Declares the group, and subscribes under a name that is the group's or its replay's.
    async fn open(
        &self,
        name: &Name,
        start: Start,
        mode: Mode,
    ) -> Result<Box<dyn DynConsumer>, TransportError> {
        let core = &self.core;
        let settings = &core.settings;
        let mut group = core.topology(topics(&self.table.load().handlers));
        let topics = group.topics.clone();
        if core.replays {
            // It must not make its group, or say what that reads (contract Y1): it needs no more than
            // a place for its dead letters.
            group.name = name.clone();
            (group.topics, group.start) = (Topics::default(), Start::Earliest);
        }
        let topology = Topology {
            topics: topics.exact.clone(),
            groups: vec![group],
            declare: core.bus.config.declare,
        };
        core.bus.transport.declare(&topology).await?;
        let subscribe = Subscribe {
            group: name.clone(),
            topics,
            start,
            mode,
            // In this process the worker's own window is the bound: what it keeps to hand back at
            // the end must not stop it from draining.
            window: if core.bus.capabilities.durable {
                settings.window
            } else {
                usize::MAX
            },
            ordered: settings.ordered,
        };
        core.bus.transport.subscribe(subscribe).await
    }
}

/// Answers a command while no worker runs; whether it was the last.
fn answer_idle(command: Command) -> bool {
    match command {
        // No worker runs, so none was asked.
        Command::Answer => false,
        Command::Quiesce { reply, .. } => {
            let _ = reply.send(());
            false
        }
        Command::Close { reply, .. } => {
            let _ = reply.send(Closed::default());
            true
        }
    }
}
