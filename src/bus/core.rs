use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use tidings_transport::{
    Capabilities, DynTransport, GroupTopology, Name, Topics, Topology, TransportError,
};
use tokio::runtime::Handle;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use super::GroupSettings;
use super::config::BusConfig;
use super::live::{dead_letter_topic, retry_topic};
use crate::clock::Clock;
use crate::codec::Codec;
use crate::emit::Completions;
use crate::handler::Failure;
use crate::pipeline::{Dedup, Gate, Middleware, Pulse, RetryBudget, Slots};
use crate::recorder::Recorder;

/// What every part of a running bus shares. It knows no handler, so workers that hold it keep no
/// handler alive.
pub(crate) struct BusCore {
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) service: Name,
    pub(crate) transport: Arc<dyn DynTransport>,
    pub(crate) capabilities: Capabilities,
    pub(crate) codec: Arc<dyn Codec>,
    /// It is the one that nobody set.
    pub(crate) usual_codec: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: BusConfig,
    /// Around every publish.
    pub(crate) publish_layers: Arc<[Arc<dyn Middleware>]>,
    pub(crate) completions: Completions,
    pub(crate) idle: Idle,
    /// Takes note for tests; off, and without the feature nothing at all, in production.
    pub(crate) recorder: Recorder,
    pub(crate) runtime: Handle,
    /// Set when shutdown begins: emits from outside handlers end with Closed (contract S3).
    pub(crate) closing: AtomicBool,
    /// Whether `start` was called; groups on a durable transport consume from then on.
    pub(crate) started: AtomicBool,
    /// Whether a handler waits for `start`.
    pub(crate) waits_for_start: AtomicBool,
    /// Fired at the drain deadline: nothing may be emitted any more.
    pub(crate) closed: CancellationToken,
    /// The topics that exist, as far as this bus made sure of it: on a durable transport.
    pub(crate) declared: Declared,
}

/// Topics of a durable transport, each declared once: at start, or at the first emit of a type that
/// nobody handles here (house rule 10). There are as many as there are event types.
#[derive(Debug, Default)]
pub(crate) struct Declared(DashMap<Name, Arc<OnceCell<()>>>);

impl Declared {
    /// These were declared just now.
    pub(crate) fn note<'a>(&self, topics: impl IntoIterator<Item = &'a Name>) {
        for topic in topics {
            self.0
                .insert(topic.clone(), Arc::new(OnceCell::new_with(Some(()))));
        }
    }

    /// Declares a topic, unless that was done; one of several at once does it for all of them.
    async fn ensure(&self, core: &BusCore, topic: &Name) -> Result<(), TransportError> {
        let cell = Arc::clone(&self.0.entry(topic.clone()).or_default());
        let declare = async || {
            let topology = Topology {
                topics: vec![topic.clone()],
                groups: Vec::new(),
                declare: core.config.declare,
            };
            core.transport.declare(&topology).await
        };
        cell.get_or_try_init(declare).await.map(drop)
    }

    fn has(&self, topic: &Name) -> bool {
        self.0.get(topic).is_some_and(|cell| cell.initialized())
    }
}

impl BusCore {
    /// Says, once, that handlers were registered and never started (house rule 10).
    pub(crate) fn mind_the_start(&self) {
        if self.waits_for_start.load(Ordering::Relaxed)
            && !self.started.load(Ordering::Acquire)
            && self.waits_for_start.swap(false, Ordering::AcqRel)
        {
            tracing::error!(
                service = %self.service,
                "an event was emitted, but the handlers of this bus were never started: call `start` or `run`"
            );
        }
    }

    /// Makes sure that a topic exists before the first publish to it.
    pub(crate) async fn declare_once(&self, topic: &Name) -> Result<(), TransportError> {
        if !self.capabilities.durable || self.declared.has(topic) {
            return Ok(());
        }
        // Boxed, because every publish that waits would have room for what is done once.
        Box::pin(self.declared.ensure(self, topic)).await
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// Wakes whoever waits for the bus to become idle. Nobody waiting costs one load.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    waiting: AtomicUsize,
    changed: Notify,
}

impl Idle {
    /// Something was settled.
    pub(crate) fn changed(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Begins to watch; from now on changes are told.
    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch {
            _waiting: Waiting::new(&self.waiting),
            changed: &self.changed,
        }
    }
}

/// Somebody who waits for changes.
pub(crate) struct Watch<'a> {
    _waiting: Waiting<'a>,
    changed: &'a Notify,
}

impl Watch<'_> {
    /// The next change after this call, even if it comes before the future is polled.
    ///
    /// Cancel safe.
    pub(crate) fn next(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the pipeline knows about the group that it runs.
pub(crate) struct GroupCore {
    /// The group's name on the wire.
    pub(crate) name: Name,
    pub(crate) settings: GroupSettings,
    pub(crate) bus: Arc<BusCore>,
    /// Where its dead letters go; `None` keeps none.
    pub(crate) dead_letters: Option<Name>,
    /// Where failed events are put aside; `None` has them wait in their lanes (contract O2, O3).
    pub(crate) retries: Option<Name>,
    /// Around every attempt: the bus's, then the group's own.
    pub(crate) layers: Arc<[Arc<dyn Middleware>]>,
    pub(crate) slots: Slots,
    pub(crate) budget: RetryBudget,
    pub(crate) gate: Gate,
    pub(crate) dedup: Option<Dedup>,
    /// Fired when the group should come to an end (contract S1).
    pub(crate) draining: CancellationToken,
    pub(crate) counters: Counters,
    /// What the watchdog looks at.
    pub(crate) pulse: Arc<Pulse>,
    /// It reads history once more, beside the group of this name.
    pub(crate) replays: bool,
}

impl GroupCore {
    pub(super) fn new(
        bus: Arc<BusCore>,
        name: Name,
        settings: GroupSettings,
        layers: Arc<[Arc<dyn Middleware>]>,
    ) -> Self {
        Self {
            dead_letters: settings.dead_letters.then(|| dead_letter_topic(&name)),
            retries: settings.reordering_retry.then(|| retry_topic(&name)),
            layers,
            slots: Slots::new(settings.concurrency),
            budget: RetryBudget::default(),
            gate: Gate::new(name.clone(), settings.pause.clone()),
            dedup: Dedup::new(&settings.dedup),
            draining: CancellationToken::new(),
            counters: Counters::default(),
            pulse: Arc::default(),
            replays: false,
            name,
            settings,
            bus,
        }
    }

    /// The group as the transport sees it.
    pub(super) fn topology(&self, mut topics: Topics) -> GroupTopology {
        let settings = &self.settings;
        topics.exact.extend(self.retries.clone());
        GroupTopology {
            name: self.name.clone(),
            topics,
            ordered: settings.ordered,
            start: settings.start,
            dead_letters: self.dead_letters.clone(),
            queue: settings.queue,
        }
    }

    /// The same group for one replay: it has counters, slots and an end of its own, and nothing in it
    /// is a duplicate of what was live.
    pub(super) fn for_replay(&self) -> Self {
        let (bus, name) = (Arc::clone(&self.bus), self.name.clone());
        let layers = Arc::clone(&self.layers);
        Self {
            dedup: None,
            retries: None,
            replays: true,
            ..Self::new(bus, name, self.settings.clone(), layers)
        }
    }
}

impl GroupSettings {
    /// Lets the group's classifiers look at an error, in the order they were added. They are the
    /// user's code: one that panics leaves the class as it is.
    pub(crate) fn reclassify(&self, failure: &mut Failure) {
        let classify = || {
            self.classifiers
                .iter()
                .find_map(|classify| classify(failure))
        };
        match catch_unwind(AssertUnwindSafe(classify)) {
            Ok(Some(class)) => failure.reclassify(class),
            Ok(None) => {}
            Err(panic) => {
                let error = crate::text::safe(&crate::text::panic_message(panic));
                tracing::error!(error, "a classifier panicked: the failure keeps its class");
            }
        }
    }
}

/// What a group has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    completed: AtomicU64,
    dead_lettered: AtomicU64,
    duplicates: AtomicU64,
    skipped: AtomicU64,
    foreign: AtomicU64,
    without_id: AtomicU64,
    unsettled: AtomicUsize,
    handed_back: AtomicUsize,
    aside: AtomicUsize,
    stopped: AtomicBool,
}

/// What a group has done so far, read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Handler calls that ended well, one per event and handler.
    pub completed: u64,
    /// Events written to the dead letters.
    pub dead_lettered: u64,
    /// Deliveries that dedup suppressed.
    pub duplicates: u64,
    /// Ids that dedup forgot inside its window, because more came than it may remember.
    pub dedup_forgotten: u64,
    /// Events skipped by a named rule: tombstones, foreign types of shared topics, no handler left.
    pub skipped: u64,
    /// Records without an envelope that were read as the one type of their topic.
    pub foreign: u64,
    /// Records that came without an id.
    pub without_id: u64,
    /// Deliveries taken and not settled yet.
    pub unsettled: usize,
    /// Whether the group stopped after a dead letter, as it was told to.
    pub stopped: bool,
}

impl Counters {
    pub(crate) fn completed(&self, count: u64) {
        self.completed.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dead_lettered(&self) {
        self.dead_lettered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn without_id(&self) {
        self.without_id.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// How many wait outside of their lanes.
    pub(crate) fn aside(&self) -> usize {
        self.aside.load(Ordering::Relaxed)
    }

    pub(crate) fn set_aside(&self, aside: usize) {
        self.aside.store(aside, Ordering::Relaxed);
    }

    pub(crate) fn set_unsettled(&self, unsettled: usize, handed_back: usize) {
        self.unsettled.store(unsettled, Ordering::Release);
        self.handed_back.store(handed_back, Ordering::Release);
    }

    /// So many are about to be unsettled. Ordered before whatever is looked at next, as the look at
    /// it in [`stats`](Self::stats) is behind whatever was done before.
    pub(crate) fn will_take(&self, unsettled: usize) {
        self.unsettled.store(unsettled, Ordering::SeqCst);
    }

    pub(crate) fn handed_back(&self) -> usize {
        self.handed_back.load(Ordering::Acquire)
    }

    pub(crate) fn stats(&self) -> GroupStats {
        GroupStats {
            completed: self.completed.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            dedup_forgotten: 0,
            skipped: self.skipped.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
            without_id: self.without_id.load(Ordering::Relaxed),
            unsettled: self.unsettled.load(Ordering::SeqCst),
            stopped: self.stopped.load(Ordering::Acquire),
        }
    }
}
