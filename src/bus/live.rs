use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidings_transport::{GroupTopology, Lag, Name, Topics, TransportError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::core::GroupCore;
use super::registry::Table;
use super::supervised::{Cursor, Supervised};
use crate::handler::{ErasedHandler, Wanted};
use crate::pipeline::{Closed, Command, Ended, Pulse, Watched};

/// A group that has handlers: its table, and the task that runs it.
pub(crate) struct LiveGroup {
    pub(crate) core: Arc<GroupCore>,
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// Shared with the task, which clears it when it ends by itself.
    running: Arc<Mutex<Option<Running>>>,
    /// Held while a handler is added or removed, so that the transport is told in the same order.
    changing: Mutex<()>,
}

/// A group's task, and the way to it.
pub(super) struct Running {
    commands: mpsc::Sender<Command>,
    supervisor: JoinHandle<()>,
}

/// How many commands may wait for a worker.
const COMMANDS: usize = 64;

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
        if left == Topics::default() {
            gone.exact.extend(self.core.retries.clone());
        }
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
        self.core.topology(topics)
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

pub(super) fn topics(handlers: &[Arc<dyn ErasedHandler>]) -> Topics {
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

/// Where a group puts events aside, by its name on the wire.
pub(super) fn retry_topic(group: &Name) -> Name {
    Name::from(format!("{group}.retry"))
}

/// The dead letters of a group, by its name on the wire.
pub(super) fn dead_letter_topic(group: &Name) -> Name {
    Name::from(format!("{group}.dead"))
}
