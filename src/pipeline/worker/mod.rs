mod aside;
mod at_once;
mod encoded;
mod held;
mod settle;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidings_transport::{Batch, BoxFuture, DynConsumer, ErrorKind, Signal, TransportError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::aside::Back;
pub(crate) use self::at_once::Run;
use self::held::Held;
use super::dead::{self, Cause};
use super::intake::{Handlers, NO_HANDLER, Plan, Router};
use super::job::{Intake, Job, Spare, Verdict};
use super::lanes::{LaneKey, Lanes};
use super::watchdog::Pulse;
use super::{Agains, Begun, Finished, trace};
use crate::bus::{GroupCore, Table};
use crate::handler::ErasedHandler;

/// What the bus asks of a worker.
pub(crate) enum Command {
    /// Answer when no call of this handler runs.
    Quiesce {
        subscription: u64,
        reply: oneshot::Sender<()>,
    },
    /// The watchdog asks for a sign of life.
    Answer,
    /// End now: drop what runs, give back what is unsettled, leave the group.
    Close {
        deadline: Duration,
        reply: oneshot::Sender<Closed>,
    },
}

/// How a worker ended.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// Deliveries given back untouched or after a failed last attempt.
    pub(crate) handed_back: usize,
    /// Deliveries whose handler was still running and was dropped.
    pub(crate) abandoned: usize,
    pub(crate) error: Option<TransportError>,
}

/// Runs one group: pulls batches, keeps the key lanes, starts handlers, settles.
///
/// A handler is polled once on the worker's task; only if it has to wait is it spawned, so a
/// handler that is ready at once costs no task.
pub(crate) struct Worker<'a> {
    group: Arc<GroupCore>,
    consumer: Box<dyn DynConsumer>,
    table: Arc<ArcSwap<Table>>,
    commands: &'a mut mpsc::Receiver<Command>,
    router: Router,
    lanes: Lanes<Work>,
    /// A slot for the next call: one that ends at once leaves it for another.
    slot: Held,
    /// Empty places for deliveries.
    spares: Vec<Spare>,
    agains: Agains,
    /// Shares whose lane is free and that wait for a slot.
    ready: VecDeque<(Arc<dyn ErasedHandler>, Job)>,
    tasks: JoinSet<Ran>,
    /// What came back too early from where it was put aside, beside those that the window is for.
    aside: JoinSet<Back>,
    aside_bytes: usize,
    /// How many spawned calls run, per subscription.
    running: HashMap<u64, usize>,
    /// Deliveries whose turn in their lane has come; a queue, because starting one may end it and
    /// bring up the next.
    turns: VecDeque<Work>,
    quiescing: Vec<(u64, oneshot::Sender<()>)>,
    /// Kept until the end, because giving them back now would bring them here again.
    handed_back: Vec<Intake>,
    /// Lanes of those, and of what was given back amid its batch: what comes for them joins them
    /// (contract O1).
    closed_lanes: HashSet<LaneKey>,
    /// A batch is being taken in.
    takes_in: bool,
    /// The handler polled on this task, as the watchdog was told.
    polled: u64,
    unsettled: usize,
    bytes: usize,
    successes: u32,
    started: u32,
    stopped: bool,
    closed: bool,
    /// Something of ours broke; the worker ends and another one follows.
    broken: Option<String>,
}

/// How a worker came to its end.
pub(crate) enum Ended {
    /// It was told to.
    Closed,
    /// The group's queue is gone, because its last handler was removed.
    QueueGone,
    /// A replay is over.
    Finished,
}

/// A delivery on its way through a lane.
struct Work {
    intake: Intake,
    plan: Plan,
}

struct Ran {
    subscription: u64,
    finished: Finished,
}

/// Most messages taken from the transport at once.
const BATCH: usize = 256;

impl<'a> Worker<'a> {
    pub(crate) fn new(
        group: Arc<GroupCore>,
        consumer: Box<dyn DynConsumer>,
        table: Arc<ArcSwap<Table>>,
        commands: &'a mut mpsc::Receiver<Command>,
    ) -> Self {
        let router = Router::new(table.load_full());
        let stopped = group.counters.stats().stopped;
        group.counters.set_aside(0);
        Self {
            slot: Held::new(&group),
            spares: Vec::new(),
            agains: Agains::default(),
            group,
            consumer,
            table,
            commands,
            router,
            lanes: Lanes::new(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            aside: JoinSet::new(),
            aside_bytes: 0,
            running: HashMap::new(),
            turns: VecDeque::new(),
            quiescing: Vec::new(),
            handed_back: Vec::new(),
            closed_lanes: HashSet::new(),
            takes_in: false,
            polled: 0,
            unsettled: 0,
            bytes: 0,
            successes: 0,
            started: 0,
            stopped,
            closed: false,
            broken: None,
        }
    }

    /// Runs until it is closed, or until the consumer breaks.
    pub(crate) async fn run(mut self) -> Result<Ended, TransportError> {
        let mut batch = Batch::default();
        let live = Pulse::live(&self.group.pulse);
        loop {
            self.start_ready();
            self.slot.give_back();
            self.polls(0);
            self.publish_state();
            if let Some(error) = self.broken {
                return Err(TransportError::new(ErrorKind::Other, error));
            }
            if self.closed && self.unsettled == 0 {
                return Ok(Ended::QueueGone);
            }
            if self.group.replays && self.stopped && self.unsettled == 0 {
                // Nobody starts it again.
                return Ok(Ended::Closed);
            }
            let draining = self.group.draining.is_cancelled();
            let room = self.room();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Quiesce { subscription, reply }) => self.quiesce(subscription, reply),
                    Some(Command::Answer) => self.group.pulse.answer(),
                    Some(Command::Close { deadline, reply }) => {
                        drop(live);
                        let _ = reply.send(self.close(deadline).await);
                        return Ok(Ended::Closed);
                    }
                    // The bus is gone.
                    None => return Ok(Ended::Closed),
                },
                Some(ran) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.ran(ran);
                    while let Some(ran) = self.tasks.try_join_next() {
                        self.ran(ran);
                    }
                }
                Some(back) = self.aside.join_next(), if !self.aside.is_empty() => self.is_back(back),
                // Only to look again at how much room there is.
                () = self.group.draining.cancelled(), if !draining => {}
                () = self.group.slots.ready(), if !self.ready.is_empty() => {}
                signal = self.consumer.receive(room, &mut batch), if room > 0 => match signal {
                    Ok(Signal::Batch) if !self.may_take(batch.len()) => {
                        batch.drain().for_each(drop);
                    }
                    Ok(Signal::Batch) => {
                        self.router.update(self.table.load_full());
                        self.take_in(&mut batch);
                        self.slot.give_back();
                        // A consumer that always has something must not keep the thread.
                        tokio::task::coop::consume_budget().await;
                    }
                    Ok(Signal::Revoked(revoked)) => tracing::warn!(
                        group = %self.group.name,
                        topic = %revoked.topic,
                        partition = revoked.partition,
                        unsettled = revoked.unsettled,
                        "assignment lost"
                    ),
                    Ok(Signal::Closed) => self.closed = true,
                    Ok(Signal::End) => return Ok(Ended::Finished),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Whether these may still be taken in. On a durable transport a shutdown that begins now sees
    /// them as taken, or is seen here: it must not find nothing to wait for and then handlers that
    /// run (contract S2).
    fn may_take(&self, count: usize) -> bool {
        if !self.group.bus.capabilities.durable {
            return true;
        }
        self.group.counters.will_take(self.unsettled + count);
        !self.group.draining.is_cancelled()
    }

    /// How many more messages may be taken (contract M1, O2).
    fn room(&self) -> usize {
        let settings = &self.group.settings;
        let draining = self.group.draining.is_cancelled() && self.group.bus.capabilities.durable;
        if self.stopped || self.closed || draining || !self.ready.is_empty() {
            return 0;
        }
        if self.bytes >= settings.window_bytes || self.aside_bytes >= settings.window_bytes {
            return 0;
        }
        // What is kept to be handed back at the end takes no part any more.
        // What waits aside takes nobody's place: how much that is others bound.
        let active = self.unsettled - self.handed_back.len() - self.aside.len();
        settings.window.saturating_sub(active).min(BATCH)
    }

    fn admit(&mut self, mut intake: Intake) {
        if self.stopped {
            intake.release();
            return;
        }
        if self.is_aside(intake.message()) {
            return self.comes_back(intake);
        }
        let plan = self.router.route(&self.group, &mut intake);
        self.admit_to(intake, plan);
    }

    fn admit_to(&mut self, intake: Intake, plan: Plan) {
        self.unsettled += 1;
        self.bytes += intake.size();
        self.enter(intake, plan);
    }

    /// Puts a delivery that is counted into its lane.
    fn enter(&mut self, intake: Intake, plan: Plan) {
        let work = Work { intake, plan };
        if self.group.settings.ordered
            && let Some(lane) = LaneKey::of(work.intake.message())
        {
            if !self.closed_lanes.is_empty() && self.closed_lanes.contains(&lane) {
                self.bytes -= work.intake.size();
                self.give_back(work.intake);
                return;
            }
            if let Some(work) = self.lanes.enter(lane, work) {
                self.begin(work);
            }
            return;
        }
        self.begin(work);
    }

    /// The delivery's turn in its lane has come.
    fn begin(&mut self, work: Work) {
        let Work { intake, plan } = work;
        if self.stopped {
            self.bytes -= intake.size();
            self.give_back(intake);
            return;
        }
        match plan {
            Plan::Sole(handler) if !handler.info().is_removed() => {
                self.offer(handler, Job::Sole(intake));
            }
            Plan::Sole(_) => self.share(intake, Handlers::new()),
            Plan::Handle(handlers) => self.share(intake, handlers),
            Plan::DeadLetter(cause) => self.bury(intake, cause),
            Plan::Skip(rule) => {
                self.group.counters.skipped();
                self.group
                    .bus
                    .recorder
                    .skipped(&self.group, intake.delivered(), rule);
                tracing::debug!(group = %self.group.name, rule, "event skipped");
                self.settle(intake, false);
            }
        }
    }

    fn share(&mut self, intake: Intake, handlers: Handlers) {
        // Decided once: a handler that ends another's registration while it starts must not
        // change how many shares there are.
        let live: Handlers = handlers
            .into_iter()
            .filter(|handler| !handler.info().is_removed())
            .collect();
        let count = live.len();
        let mut live = live.into_iter();
        match (count, live.next()) {
            (1, Some(handler)) => self.offer(handler, Job::Sole(intake)),
            (_, Some(first)) => {
                // The last share gets the last reference, so whichever ends last can settle.
                let shares = std::iter::repeat_n(Job::shared(intake, count), count);
                for (handler, shared) in std::iter::once(first).chain(live).zip(shares) {
                    self.offer(handler, Job::Shared(shared));
                }
            }
            (_, None) => {
                self.group.counters.skipped();
                self.group
                    .bus
                    .recorder
                    .skipped(&self.group, intake.delivered(), NO_HANDLER);
                self.settle(intake, false);
            }
        }
    }

    fn offer(&mut self, handler: Arc<dyn ErasedHandler>, job: Job) {
        if self.ready.is_empty() && self.slot.try_take() {
            self.start(handler, job);
        } else {
            self.ready.push_back((handler, job));
        }
    }

    fn start_ready(&mut self) {
        while let Some(work) = self.turns.pop_front() {
            self.begin(work);
        }
        while !self.ready.is_empty() && self.slot.try_take() {
            if let Some((handler, job)) = self.ready.pop_front() {
                self.start(handler, job);
            }
        }
    }

    /// Starts a share whose slot is taken.
    fn start(&mut self, handler: Arc<dyn ErasedHandler>, job: Job) {
        if job.delivered().aside().is_none() {
            self.started += 1;
        }
        let subscription = handler.info().subscription;
        if trace::tracing_is_on() {
            let span = trace::process_span(handler.info(), job.delivered());
            let future = handler.deliver(job, None);
            self.slot.hand_over();
            self.drive(
                subscription,
                Box::pin(tracing::Instrument::instrument(future, span)),
            );
            return;
        }
        self.polls(subscription);
        let again = self.agains.of(subscription);
        let first = match catch_unwind(AssertUnwindSafe(|| handler.begin(job.delivered(), again))) {
            Ok(Begun::Done) => {
                self.finish(Finished {
                    job,
                    verdict: Verdict::Completed,
                });
                return;
            }
            Ok(Begun::More(first)) => Some(first),
            Ok(Begun::Not) => None,
            Err(panic) => {
                self.lost(crate::text::safe(&crate::text::panic_message(panic)));
                return;
            }
        };
        let future = handler.deliver(job, first);
        self.slot.hand_over();
        self.drive(subscription, future);
    }

    /// An event that no handler can take.
    fn bury(&mut self, intake: Intake, cause: Cause) {
        let group = Arc::clone(&self.group);
        let future = Box::pin(async move {
            let verdict = dead::letter(&group, None, intake.delivered(), cause).await;
            super::deliver::tell_unread(&group, intake.delivered(), verdict);
            Finished {
                job: Job::Sole(intake),
                verdict,
            }
        });
        self.drive(0, future);
    }

    /// Polls once here; what has to wait goes on as a task.
    fn drive(&mut self, subscription: u64, mut future: BoxFuture<'static, Finished>) {
        // No wake-up is lost: a spawned task is polled again at once, with its own waker.
        let mut task = Context::from_waker(Waker::noop());
        self.polls(subscription);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut task))) {
            Ok(Poll::Ready(finished)) => self.finish(finished),
            Ok(Poll::Pending) => {
                *self.running.entry(subscription).or_default() += 1;
                let handler = self.handler(subscription);
                self.tasks.spawn(async move {
                    let finished = poll_fn(|task| {
                        let _polling = handler.as_deref().map(|handler| handler.info().polling());
                        future.as_mut().poll(task)
                    });
                    Ran {
                        subscription,
                        finished: finished.await,
                    }
                });
            }
            Err(panic) => self.lost(crate::text::safe(&crate::text::panic_message(panic))),
        }
    }

    fn handler(&self, subscription: u64) -> Option<Arc<dyn ErasedHandler>> {
        let table = self.table.load();
        table
            .handlers
            .iter()
            .find(|handler| handler.info().subscription == subscription)
            .cloned()
    }

    /// Tells the watchdog who is polled on this task, if that changes.
    #[inline]
    fn polls(&mut self, subscription: u64) {
        if self.polled != subscription {
            self.polled = subscription;
            self.group.pulse.polls(subscription);
        }
    }
}
