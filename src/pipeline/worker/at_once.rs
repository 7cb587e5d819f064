//! What nearly every event needs: one handler that is ready at its first poll. Such an event is
//! handled and settled where it lies in its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tidings_transport::{Batch, Envelope, EventId, Payload};

use super::Worker;
use crate::bus::GroupCore;
use crate::handler::{ErasedHandler, Wanted};
use crate::pipeline::job::{Delivered, Intake, Job};
use crate::pipeline::lanes::LaneKey;
use crate::pipeline::{Begun, First, Source, trace};

/// Deliveries of a batch that one handler takes, one after the other, each as far as it ends at once.
pub(crate) struct Run<'a> {
    group: &'a GroupCore,
    pub(super) batch: &'a mut Batch,
    /// The next one.
    pub(super) at: usize,
    /// A key whose lane nobody is in needs none while its handler ends at once.
    takes_keys: bool,
    settled: u32,
    /// What panics now is the event's own drop code.
    settles: bool,
}

impl Source for Run<'_> {
    #[inline(always)]
    fn next(&self, wanted: &Wanted) -> Option<Delivered<'_>> {
        let delivered = Delivered::local(self.batch, self.at)?;
        let Wanted::Type { event, topic, .. } = wanted else {
            return None;
        };
        let message = delivered.message();
        let envelope = delivered.envelope();
        let is_odd = |key: &Bytes| !self.takes_keys || std::str::from_utf8(key).is_err();
        let is_mine = message.topic == *topic
            && envelope.name == *event
            && matches!(message.payload, Payload::Local(_))
            && !message.key.as_ref().is_some_and(is_odd)
            && envelope.hops < self.group.bus.config.max_hops;
        is_mine.then_some(delivered)
    }

    /// contract: D2, as [`Worker::settle`]
    #[inline(always)]
    fn handled(&mut self) {
        let at = self.at;
        self.at += 1;
        self.settled += 1;
        self.settles = true;
        // Last: this drops the event, whose own drop code may panic.
        match self.group.bus.completions.is_tracking() {
            false => self.batch.finish(at),
            true => self.finish_tracked(at),
        }
        self.settles = false;
    }
}

impl Run<'_> {
    #[inline(never)]
    fn finish_tracked(&mut self, at: usize) {
        self.batch.flush();
        let mut received = self.batch.take(at);
        received.ack_in_place();
        if let Some(envelope) = received.envelope.local() {
            self.tell_done(&envelope.id);
        }
    }

    /// As [`handled`](Source::handled), for one that came encoded: its event is dropped already.
    pub(super) fn handled_read(&mut self, envelope: &Envelope) {
        let at = self.at;
        self.at += 1;
        self.settled += 1;
        if self.group.bus.completions.is_tracking() {
            self.batch.finish(at);
            self.batch.flush();
            self.tell_done(&envelope.id);
        } else {
            self.batch.finish(at);
        }
    }

    fn tell_done(&self, id: &EventId) {
        let completions = &self.group.bus.completions;
        completions.group_done(id, &self.group.name);
    }
}

/// How a run came to its end.
pub(super) enum Ran {
    /// Whatever comes next is not its handler's.
    On,
    /// The first attempt of the next delivery began.
    More(Arc<dyn ErasedHandler>, First),
    /// The next delivery needs more of the worker.
    Not,
}

impl Worker<'_> {
    /// Takes a batch in; nothing of it is left.
    pub(super) fn take_in(&mut self, batch: &mut Batch) {
        let group = Arc::clone(&self.group);
        self.takes_in = true;
        let mut run = Run {
            group: &group,
            batch,
            at: 0,
            takes_keys: false,
            settled: 0,
            settles: false,
        };
        while run.at < run.batch.len() && self.broken.is_none() {
            // One guard around all of them is entered again behind the one that panicked.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                while run.at < run.batch.len() && self.broken.is_none() {
                    match self.run_on(&mut run) {
                        Ran::On => {}
                        Ran::More(handler, first) => {
                            let intake = self.take_out(&mut run);
                            self.go_on(intake, handler, first);
                        }
                        Ran::Not => {
                            let intake = self.take_out(&mut run);
                            self.admit(intake);
                        }
                    }
                }
            }));
            let settled = std::mem::take(&mut run.settled);
            self.started += settled;
            self.successes += settled;
            if let Err(panic) = ended {
                let error = crate::text::safe(&crate::text::panic_message(panic));
                match std::mem::take(&mut run.settles) {
                    true => self.dropped_badly(&error),
                    false => self.lost(error),
                }
            }
        }
        // What a broken worker leaves is given back.
        batch.drain().for_each(drop);
        self.takes_in = false;
        if !self.group.draining.is_cancelled() {
            // What was lost comes no more.
            self.closed_lanes.clear();
        }
    }

    /// Moves the next one out of its batch. Those before it are told first.
    pub(super) fn take_out(&mut self, run: &mut Run<'_>) -> Intake {
        run.batch.flush();
        let received = run.batch.take(run.at);
        run.at += 1;
        Intake::take(self.spares.pop().unwrap_or_default(), received)
    }

    #[inline]
    fn run_on(&mut self, run: &mut Run<'_>) -> Ran {
        if self.stopped
            || !self.ready.is_empty()
            || !self.turns.is_empty()
            || trace::tracing_is_on()
        {
            return Ran::Not;
        }
        let Some(delivered) = Delivered::local(run.batch, run.at) else {
            return self.run_encoded(run);
        };
        let Some(handler) = self.router.sole(&self.group, delivered) else {
            return Ran::Not;
        };
        run.takes_keys =
            !self.group.settings.ordered || self.lanes.are_free() && self.closed_lanes.is_empty();
        if !self.slot.try_take() {
            return Ran::Not;
        }
        let subscription = handler.info().subscription;
        if self.polled != subscription {
            self.polled = subscription;
            self.group.pulse.polls(subscription);
        }
        let begun_at = run.at;
        let begun = handler.begin_run(run, self.agains.of(subscription));
        run.batch.flush();
        match begun {
            Begun::Done if run.at > begun_at => Ran::On,
            Begun::Done | Begun::Not => Ran::Not,
            Begun::More(first) => Ran::More(Arc::clone(handler), first),
        }
    }

    /// Drives a delivery on whose first attempt did not simply end well.
    pub(super) fn go_on(&mut self, intake: Intake, handler: Arc<dyn ErasedHandler>, first: First) {
        self.started += 1;
        self.unsettled += 1;
        self.bytes += intake.size();
        if self.group.settings.ordered
            && let Some(lane) = LaneKey::of(intake.message())
        {
            self.lanes.take(lane);
        }
        let subscription = handler.info().subscription;
        let future = handler.deliver(Job::Sole(intake), Some(first));
        self.slot.hand_over();
        self.drive(subscription, future);
    }
}
