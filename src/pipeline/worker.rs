use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidings_transport::{
    BoxFuture, DynConsumer, ErrorKind, EventId, Received, Signal, TransportError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dead::{self, Cause};
use super::intake::{Handlers, Plan, Router};
use super::job::{Intake, Job, Verdict};
use super::lanes::{LaneKey, Lanes};
use super::watchdog::Pulse;
use super::{Finished, trace};
use crate::bus::{AfterDeadLetter, GroupCore, Table};
use crate::handler::ErasedHandler;

/// What the bus asks of a worker.
pub(crate) enum Command {
    /// Answer when no call of this handler runs.
    Quiesce { subscription: u64, reply: oneshot::Sender<()> },
    /// The watchdog asks for a sign of life.
    Answer,
    /// End now: drop what runs, give back what is unsettled, leave the group.
    Close { deadline: Duration, reply: oneshot::Sender<Closed> },
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
    /// Shares whose lane is free and that wait for a slot.
    ready: VecDeque<(Arc<dyn ErasedHandler>, Job)>,
    tasks: JoinSet<Ran>,
    /// How many spawned calls run, per subscription.
    running: HashMap<u64, usize>,
    /// Deliveries whose turn in their lane has come; a queue, because starting one may end it and
    /// bring up the next.
    turns: VecDeque<Work>,
    quiescing: Vec<(u64, oneshot::Sender<()>)>,
    /// Kept until the end, because giving them back now would bring them here again.
    handed_back: Vec<Intake>,
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
        Self {
            group,
            consumer,
            table,
            commands,
            router,
            lanes: Lanes::new(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            turns: VecDeque::new(),
            quiescing: Vec::new(),
            handed_back: Vec::new(),
            polled: 0,
            unsettled: 0,
            bytes: 0,
            successes: 0,
            started: 0,
            stopped: false,
            closed: false,
            broken: None,
        }
    }

    /// Runs until it is closed, or until the consumer breaks.
    pub(crate) async fn run(mut self) -> Result<Ended, TransportError> {
        let mut batch = Vec::with_capacity(BATCH);
        let live = Pulse::live(&self.group.pulse);
        loop {
            self.start_ready();
            self.polls(0);
            self.publish_state();
            if let Some(error) = self.broken {
                return Err(TransportError::new(ErrorKind::Other, error));
            }
            if self.closed && self.unsettled == 0 {
                return Ok(Ended::QueueGone);
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
                // Only to look again at how much room there is.
                () = self.group.draining.cancelled(), if !draining => {}
                () = self.group.slots.ready(), if !self.ready.is_empty() => {}
                signal = self.consumer.receive(room, &mut batch), if room > 0 => match signal {
                    Ok(Signal::Batch) => {
                        self.router.update(self.table.load_full());
                        for received in batch.drain(..) {
                            self.admit(received);
                        }
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
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// How many more messages may be taken (contract M1, O2).
    fn room(&self) -> usize {
        let settings = &self.group.settings;
        let draining = self.group.draining.is_cancelled() && self.group.bus.capabilities.durable;
        if self.stopped || self.closed || draining || !self.ready.is_empty() {
            return 0;
        }
        if self.bytes >= settings.window_bytes {
            return 0;
        }
        settings.window.saturating_sub(self.unsettled).min(BATCH)
    }

    fn admit(&mut self, received: Received) {
        if self.stopped {
            received.release();
            return;
        }
        self.unsettled += 1;
        let (intake, plan) = self.router.route(&self.group, received);
        self.bytes += intake.size();
        let work = Work { intake, plan };
        if self.group.settings.ordered
            && let Some(lane) = LaneKey::of(work.intake.message())
        {
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
            Plan::Handle(handlers) => self.share(intake, handlers),
            Plan::DeadLetter(cause) => self.bury(intake, cause),
            Plan::Skip(rule) => {
                self.group.counters.skipped();
                self.group.bus.recorder.skipped(&self.group, &intake, rule);
                tracing::debug!(group = %self.group.name, rule, "event skipped");
                self.settle(intake, false);
            }
        }
    }

    fn share(&mut self, intake: Intake, handlers: Handlers) {
        let live = |handler: &Arc<dyn ErasedHandler>| !handler.info().is_removed();
        let count = handlers.iter().filter(|handler| live(handler)).count();
        let mut handlers = handlers.into_iter().filter(live);
        match (count, handlers.next()) {
            (1, Some(handler)) => self.offer(handler, Job::Sole(intake)),
            (_, Some(first)) => {
                // The last share gets the last reference, so whichever ends last can settle.
                let shares = std::iter::repeat_n(Job::shared(intake, count), count);
                for (handler, shared) in std::iter::once(first).chain(handlers).zip(shares) {
                    self.offer(handler, Job::Shared(shared));
                }
            }
            (_, None) => {
                self.group.counters.skipped();
                self.group.bus.recorder.skipped(&self.group, &intake, "no handler left");
                self.settle(intake, false);
            }
        }
    }

    fn offer(&mut self, handler: Arc<dyn ErasedHandler>, job: Job) {
        if self.ready.is_empty() && self.group.slots.try_take() {
            self.start(handler, job);
        } else {
            self.ready.push_back((handler, job));
        }
    }

    fn start_ready(&mut self) {
        while let Some(work) = self.turns.pop_front() {
            self.begin(work);
        }
        while !self.ready.is_empty() && self.group.slots.try_take() {
            if let Some((handler, job)) = self.ready.pop_front() {
                self.start(handler, job);
            }
        }
    }

    /// Starts a share whose slot is taken.
    fn start(&mut self, handler: Arc<dyn ErasedHandler>, job: Job) {
        self.started += 1;
        let subscription = handler.info().subscription;
        let future = if trace::tracing_is_on() {
            let span = trace::process_span(handler.info(), &job);
            let future = handler.deliver(job);
            Box::pin(tracing::Instrument::instrument(future, span))
        } else {
            handler.deliver(job)
        };
        self.drive(subscription, future);
    }

    /// An event that no handler can take.
    fn bury(&mut self, intake: Intake, cause: Cause) {
        let group = Arc::clone(&self.group);
        let future = Box::pin(async move {
            let verdict = dead::letter(&group, None, &intake, cause).await;
            super::deliver::tell_unread(&group, &intake, verdict);
            Finished { job: Job::Sole(intake), verdict }
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
                    Ran { subscription, finished: finished.await }
                });
            }
            Err(panic) => self.lost(crate::text::safe(&crate::text::panic_message(panic))),
        }
    }

    fn handler(&self, subscription: u64) -> Option<Arc<dyn ErasedHandler>> {
        let table = self.table.load();
        table.handlers.iter().find(|handler| handler.info().subscription == subscription).cloned()
    }

    /// Tells the watchdog who is polled on this task, if that changes.
    #[inline]
    fn polls(&mut self, subscription: u64) {
        if self.polled != subscription {
            self.polled = subscription;
            self.group.pulse.polls(subscription);
        }
    }

    fn ran(&mut self, ran: Result<Ran, tokio::task::JoinError>) {
        match ran {
            Ok(ran) => {
                self.call_ended(ran.subscription);
                self.finish(ran.finished);
            }
            Err(error) => self.lost(crate::text::safe(&error.to_string())),
        }
    }

    /// A share ended outside of every guard, so its lane cannot be freed in order: everything is
    /// given back and a new worker begins.
    fn lost(&mut self, error: String) {
        tracing::error!(group = %self.group.name, error, "a delivery broke off: the group begins anew");
        self.broken = Some(error);
    }

    fn call_ended(&mut self, subscription: u64) {
        if let Some(count) = self.running.get_mut(&subscription) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&subscription);
                self.quiescing
                    .extract_if(.., |(waiting, _)| *waiting == subscription)
                    .for_each(|(_, reply)| {
                        let _ = reply.send(());
                    });
            }
        }
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { job, verdict } = finished;
        match verdict {
            Verdict::Completed => self.successes += 1,
            Verdict::DeadLettered => {
                self.group.counters.dead_lettered();
                if self.group.settings.after_dead_letter == AfterDeadLetter::StopGroup {
                    self.stop();
                }
            }
            Verdict::Skipped => self.group.counters.skipped(),
            Verdict::Duplicate | Verdict::HandedBack => {}
        }
        if let Some((intake, handed_back)) = job.finish(verdict == Verdict::HandedBack) {
            self.settle(intake, handed_back);
        }
    }

    /// contract: O4, StopGroup
    fn stop(&mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.group.counters.stop();
        tracing::error!(group = %self.group.name, "group stopped after a dead letter, as it was told to");
        // What has not begun goes back; what runs may end.
        for (_, job) in std::mem::take(&mut self.ready) {
            if let Some((intake, _)) = job.finish(true) {
                self.settle(intake, true);
            }
        }
        let waiting: Vec<Work> = self.lanes.drain().collect();
        for work in waiting {
            self.begin(work);
        }
    }

    /// contract: D2, one settle per delivery, after its final state
    fn settle(&mut self, intake: Intake, handed_back: bool) {
        self.bytes -= intake.size();
        let lane = if self.group.settings.ordered { LaneKey::of(intake.message()) } else { None };
        if handed_back {
            if let Some(lane) = lane {
                // Later events of the key must not pass it: the whole lane goes back.
                for work in self.lanes.close(&lane) {
                    self.bytes -= work.intake.size();
                    self.give_back(work.intake);
                }
            }
            self.give_back(intake);
            return;
        }
        self.unsettled -= 1;
        let completions = &self.group.bus.completions;
        let id = completions.is_tracking().then(|| EventId::from(intake.envelope_id()));
        // Acking drops the event, whose own drop code may panic.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| intake.ack())) {
            let error = crate::text::safe(&crate::text::panic_message(panic));
            tracing::error!(group = %self.group.name, error, "an event panicked while it was dropped");
        }
        if let Some(id) = id {
            self.group.bus.completions.group_done(&id, &self.group.name);
        }
        if let Some(lane) = lane
            && let Some(next) = self.lanes.leave(&lane)
        {
            self.turns.push_back(next);
        }
    }

    fn give_back(&mut self, intake: Intake) {
        if self.group.draining.is_cancelled() {
            self.handed_back.push(intake);
        } else {
            self.unsettled -= 1;
            intake.release();
        }
    }

    fn quiesce(&mut self, subscription: u64, reply: oneshot::Sender<()>) {
        if self.running.contains_key(&subscription) {
            self.quiescing.push((subscription, reply));
        } else {
            let _ = reply.send(());
        }
    }

    /// Tells the rest of the bus how things stand, once per turn of the loop.
    fn publish_state(&mut self) {
        if self.started > 0 || self.successes > 0 {
            let now = Instant::now();
            self.group.budget.record_first(std::mem::take(&mut self.started), now);
            self.group.counters.completed(u64::from(self.successes));
            self.group.gate.record_successes(std::mem::take(&mut self.successes), now);
        }
        self.group.counters.set_unsettled(self.unsettled, self.handed_back.len());
        self.group.bus.idle.changed();
    }

    async fn close(mut self, deadline: Duration) -> Closed {
        let abandoned = self.tasks.len();
        let mut closed = Closed {
            handed_back: self.unsettled.saturating_sub(abandoned),
            abandoned,
            error: None,
        };
        // Dropping a share gives its delivery back.
        self.tasks.shutdown().await;
        self.ready.clear();
        self.turns.clear();
        self.lanes.drain().for_each(drop);
        self.handed_back.clear();
        closed.error = self.consumer.close(deadline).await.err();
        closed
    }
}
