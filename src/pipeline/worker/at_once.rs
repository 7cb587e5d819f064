//! What nearly every event needs: one handler that is ready at its first poll. Such an event is
//! handled and settled where it lies in its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidings_transport::Received;

use super::Worker;
use crate::handler::ErasedHandler;
use crate::pipeline::job::{Delivered, Intake, Job};
use crate::pipeline::lanes::LaneKey;
use crate::pipeline::{Begun, First, trace};

/// What came of a delivery in its place.
enum InPlace {
    /// It is final, except for its settling.
    Handled,
    /// Its first attempt began.
    More(Arc<dyn ErasedHandler>, First),
    /// Nothing was done: it needs more of the worker.
    Not,
}

impl Worker<'_> {
    /// Takes a batch in; nothing of it is left.
    pub(super) fn take_in(&mut self, batch: &mut Vec<Received>) {
        let mut at = 0;
        while at < batch.len() && self.broken.is_none() {
            let mut settles = false;
            // One guard around all of them is entered again behind the one that panicked.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                while let Some(received) = batch.get_mut(at) {
                    at += 1;
                    settles = false;
                    match self.in_place(received) {
                        InPlace::Handled => {
                            settles = true;
                            self.settle_in_place(received);
                        }
                        InPlace::More(handler, first) => self.go_on(received, handler, first),
                        InPlace::Not => {
                            let spare = self.spares.pop().unwrap_or_default();
                            self.admit(Intake::take(spare, received));
                        }
                    }
                    if self.broken.is_some() {
                        break;
                    }
                }
            }));
            if let Err(panic) = ended {
                let error = crate::text::safe(&crate::text::panic_message(panic));
                match settles {
                    true => self.dropped_badly(&error),
                    false => self.lost(error),
                }
            }
        }
        // What a broken worker leaves is given back.
        batch.clear();
    }

    #[inline]
    fn in_place(&mut self, received: &Received) -> InPlace {
        if self.stopped
            || !self.ready.is_empty()
            || !self.turns.is_empty()
            || trace::tracing_is_on()
        {
            return InPlace::Not;
        }
        let Some(delivered) = Delivered::local(received) else {
            return InPlace::Not;
        };
        // A key whose lane nobody is in needs none while its handler ends at once.
        if delivered.message().key.is_some()
            && self.group.settings.ordered
            && !(self.lanes.are_free() && self.closed_lanes.is_empty())
        {
            return InPlace::Not;
        }
        let Some(handler) = self.router.sole(&self.group, delivered) else {
            return InPlace::Not;
        };
        if !self.slot.try_take() {
            return InPlace::Not;
        }
        let subscription = handler.info().subscription;
        if self.polled != subscription {
            self.polled = subscription;
            self.group.pulse.polls(subscription);
        }
        match handler.begin(delivered, self.agains.of(subscription)) {
            Begun::Done => InPlace::Handled,
            Begun::More(first) => InPlace::More(Arc::clone(handler), first),
            Begun::Not => InPlace::Not,
        }
    }

    /// contract: D2, as [`settle`](Self::settle)
    #[inline]
    fn settle_in_place(&mut self, received: &mut Received) {
        self.started += 1;
        self.successes += 1;
        let completions = &self.group.bus.completions;
        let tracked = completions.is_tracking();
        let id = tracked.then(|| {
            received
                .envelope
                .local()
                .map(|envelope| envelope.id.clone())
        });
        received.ack_in_place();
        if let Some(id) = id.flatten() {
            completions.group_done(&id, &self.group.name);
        }
        // Last: this drops the event, whose own drop code may panic.
        received.finish();
    }

    /// Drives a delivery on whose first attempt did not simply end well.
    fn go_on(&mut self, received: &mut Received, handler: Arc<dyn ErasedHandler>, first: First) {
        let spare = self.spares.pop().unwrap_or_default();
        let intake = Intake::take(spare, received);
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
