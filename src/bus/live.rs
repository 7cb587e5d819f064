use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use tidings_transport::{
    DynConsumer, ErrorKind, GroupTopology, Lag, Mode, Name, Start, Subscribe, Timestamp, Topics,
    Topology, TransportError,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::core::GroupCore;
use super::registry::Table;
use crate::handler::{ErasedHandler, Wanted};
use crate::pipeline::{Closed, Command, Ended, Pulse, Watched, Worker};
use crate::text::chain;

/// A group that has handlers: its table, and the task that runs it.
pub(crate) struct LiveGroup {
    pub(crate) core: Arc<GroupCore>,
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// Shared with the task, which clears it when it ends by itself.
    running: Arc<Mutex<Option<Running>>>,
    /// Held while a handler is added or removed, so that the transport is told in the same order.
    changing: Mutex<()>,
}

/// Where a replay begins and ends.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) name: Name,
    pub(super) start: Start,
    pub(super) until: Option<Timestamp>,
}

struct Running {
    commands: mpsc::Sender<Command>,
    supervisor: JoinHandle<()>,
}

/// How many commands may wait for a worker.
const COMMANDS: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl LiveGroup {
    pub(super) fn new(core: Arc<GroupCore>) -> Self {
        Self {
            core,
            table: Arc::new(ArcSwap::default()),
            running: Arc::default(),
            changing: Mutex::default(),
        }
    }

    /// Adds a handler, and has the transport route its topic here, both before this returns.
    pub(super) fn add(&self, handler: Arc<dyn ErasedHandler>) -> Result<(), TransportError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // The table first: what the transport routes here finds its handler.
        self.table.rcu(|table| {
            let mut handlers = table.handlers.clone();
            handlers.push(Arc::clone(&handler));
            Table { handlers }
        });
        let topics = topics(std::slice::from_ref(&handler));
        self.core.bus.transport.attach(&self.topology(topics))?;
        Ok(())
    }

    /// Removes a handler; its topics too, if it was the last that wanted them.
    pub(super) fn remove(&self, subscription: u64) -> bool {
        let mut removed = None;
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.rcu(|table| {
            let mut handlers = table.handlers.clone();
            let at = handlers
                .iter()
                .position(|h| h.info().subscription == subscription);
            removed = at.map(|at| handlers.remove(at));
            Table { handlers }
        });
        let Some(removed) = removed else {
            return false;
        };
        let mut gone = topics(std::slice::from_ref(&removed));
        removed.info().remove();
        let left = topics(&self.table.load().handlers);
        gone.exact.retain(|topic| !left.exact.contains(topic));
        gone.patterns
            .retain(|pattern| !left.patterns.contains(pattern));
        self.core.bus.transport.detach(&self.core.name, &gone);
        // The handler is dropped outside of the lock: what it owns may use the bus as it goes.
        drop(changing);
        drop(removed);
        true
    }

    pub(super) fn handlers(&self) -> Vec<Arc<dyn ErasedHandler>> {
        self.table.load().handlers.clone()
    }

    pub(super) fn topology(&self, topics: Topics) -> GroupTopology {
        let settings = &self.core.settings;
        GroupTopology {
            name: self.core.name.clone(),
            topics,
            ordered: settings.ordered,
            start: settings.start,
            dead_letters: self.core.dead_letters.clone(),
            queue: settings.queue,
        }
    }

    pub(super) fn all_topics(&self) -> Topics {
        topics(&self.table.load().handlers)
    }

    /// Starts the task that runs the group, once; whether this was the time.
    pub(super) fn start(&self) -> bool {
        self.spawn(Supervised::run)
    }

    /// The handlers of a replay, all at once: the transport knows nothing of them.
    pub(super) fn fill(&self, handlers: Vec<Arc<dyn ErasedHandler>>) {
        self.table.store(Arc::new(Table { handlers }));
    }

    /// Reads history with the handlers of the table, from where and up to when `cursor` says. Once
    /// it is open that is told, with how much there is to read, and later how it ended; by then its
    /// `place` is dropped.
    pub(super) fn replay(
        &self,
        cursor: Cursor,
        opened: oneshot::Sender<Result<Vec<Lag>, TransportError>>,
        ended: oneshot::Sender<Result<Ended, TransportError>>,
        place: impl Send + 'static,
    ) -> bool {
        self.spawn(|group, inbox| group.replay(cursor, inbox, opened, ended, place))
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        run: impl FnOnce(Supervised, mpsc::Receiver<Command>) -> F,
    ) -> bool {
        let mut running = self.running();
        if running.is_some() {
            return false;
        }
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let group = Supervised {
            core: Arc::clone(&self.core),
            table: Arc::clone(&self.table),
            running: Arc::clone(&self.running),
        };
        let supervisor = self.core.bus.runtime.spawn(run(group, inbox));
        *running = Some(Running {
            commands,
            supervisor,
        });
        true
    }

    fn commands(&self) -> Option<mpsc::Sender<Command>> {
        self.running()
            .as_ref()
            .map(|running| running.commands.clone())
    }

    /// Waits until no call of a handler runs.
    pub(super) async fn quiesce(&self, subscription: u64) {
        let Some(commands) = self.commands() else {
            return;
        };
        let (reply, done) = oneshot::channel();
        let asked = commands
            .send(Command::Quiesce {
                subscription,
                reply,
            })
            .await;
        // A question that comes just when the task ends lies in its inbox as long as anybody could
        // send there.
        drop(commands);
        // A worker that is gone runs nothing.
        if asked.is_ok() {
            let _ = done.await;
        }
    }

    /// Ends the task; what is unsettled is given back.
    pub(super) async fn close(&self, deadline: Duration) -> Closed {
        let Some(Running {
            commands,
            supervisor,
        }) = self.running().take()
        else {
            return Closed::default();
        };
        let (reply, done) = oneshot::channel();
        let closed = async {
            let asked = commands.send(Command::Close { deadline, reply }).await;
            // As above.
            drop(commands);
            asked.ok()?;
            done.await.ok()
        };
        let closed = tokio::time::timeout(deadline, closed).await.ok().flatten();
        let stats = self.core.counters.stats();
        supervisor.abort();
        closed.unwrap_or(Closed {
            abandoned: stats.unsettled,
            ..Closed::default()
        })
    }

    /// Ends the task without waiting, for drop code.
    pub(super) fn abort(&self) {
        if let Some(running) = self.running().take() {
            running.supervisor.abort();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for LiveGroup {
    fn ask(&self) -> bool {
        // Full: whoever asked before waits as well.
        let full = |sent| matches!(sent, Ok(()) | Err(TrySendError::Full(_)));
        self.commands()
            .is_some_and(|commands| full(commands.try_send(Command::Answer)))
    }

    fn pulse(&self) -> &Pulse {
        &self.core.pulse
    }

    fn name(&self) -> &str {
        &self.core.name
    }

    fn polled(&self) -> Vec<String> {
        let inline = self.core.pulse.polled();
        let handlers = self.handlers();
        let polled = handlers
            .iter()
            .map(|handler| handler.info())
            .filter(|handler| handler.subscription == inline || handler.is_polled());
        polled
            .map(|handler| format!("{} at {}", handler.name, handler.site))
            .collect()
    }
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
struct Supervised {
    core: Arc<GroupCore>,
    table: Arc<ArcSwap<Table>>,
    running: Arc<Mutex<Option<Running>>>,
}

impl Supervised {
    /// Runs workers until one is closed; one that breaks is followed by another.
    async fn run(self, mut inbox: mpsc::Receiver<Command>) {
        let mut ends = Ends {
            core: &self.core,
            ended: false,
        };
        self.work(&mut inbox).await;
        ends.ended = true;
    }

    /// One worker, and no other after it: what a second one would read had been handled.
    async fn replay(
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
        let topics = topics(&self.table.load().handlers);
        // A replay must not make its group, or say what that reads (contract Y1): it needs no more
        // than a place for its dead letters.
        let (reads, begins) = match core.replays {
            true => (Topics::default(), Start::Earliest),
            false => (topics.clone(), settings.start),
        };
        let topology = Topology {
            topics: topics.exact.clone(),
            groups: vec![GroupTopology {
                name: name.clone(),
                topics: reads,
                ordered: settings.ordered,
                start: begins,
                dead_letters: core.dead_letters.clone(),
                queue: settings.queue,
            }],
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

fn topics(handlers: &[Arc<dyn ErasedHandler>]) -> Topics {
    let mut topics = Topics::default();
    // Of a replay, those that it may not call stand there as removed.
    for handler in handlers.iter().filter(|it| !it.info().is_removed()) {
        match &handler.info().wanted {
            Wanted::Type { topic, .. } if !topics.exact.contains(topic) => {
                topics.exact.push(topic.clone());
            }
            Wanted::Pattern(pattern) if !topics.patterns.contains(pattern) => {
                topics.patterns.push(pattern.clone());
            }
            Wanted::Type { .. } | Wanted::Pattern(_) => {}
        }
    }
    topics
}

/// The dead letters of a group, by its name on the wire.
pub(super) fn dead_letter_topic(group: &Name) -> Name {
    Name::from(format!("{group}.dead"))
}
