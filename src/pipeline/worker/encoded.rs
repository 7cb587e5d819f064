//! The same short way for what came encoded: its envelope is read, its event decoded, its id claimed
//! and its handler polled where it lies in its batch.

use std::sync::Arc;

use tidings_transport::Inbound;

use super::Worker;
use super::at_once::{Ran, Run};
use crate::handler::ErasedHandler;
use crate::pipeline::job::{Delivered, Parsed};
use crate::pipeline::lanes::LaneKey;
use crate::pipeline::{Begun, First};

/// What is left to do with a delivery.
enum Rest {
    /// To settle it.
    Settle,
    /// Its first attempt began.
    GoOn(Arc<dyn ErasedHandler>, First),
    /// Everything: it needs more of the worker.
    All,
}

impl Worker<'_> {
    /// Takes the next delivery of a run, whose envelope is still raw, as far as it goes at once.
    pub(super) fn run_encoded(&mut self, run: &mut Run<'_>) -> Ran {
        let Some((message, _)) = run.batch.get(run.at) else {
            return Ran::Not;
        };
        if self.is_aside(message) {
            return Ran::Not;
        }
        match self.router.read(&self.group, message) {
            Ok(parsed) => self.run_read(run, parsed),
            Err(plan) => {
                let intake = self.take_out(run);
                self.admit_to(intake, plan);
            }
        }
        Ran::On
    }

    fn run_read(&mut self, run: &mut Run<'_>, parsed: Parsed) {
        let delivered = Delivered::read(run.batch, run.at, &parsed);
        let rest = delivered.map_or(Rest::All, |delivered| self.begin_read(delivered));
        if let Rest::Settle = rest {
            return run.handled_read(&parsed.envelope);
        }
        let mut intake = self.take_out(run);
        intake.read(parsed);
        match rest {
            Rest::GoOn(handler, first) => self.go_on(intake, handler, first),
            Rest::Settle | Rest::All => self.admit(intake),
        }
    }

    fn begin_read(&mut self, delivered: Delivered<'_>) -> Rest {
        if !self.has_free_lane(delivered.message()) {
            return Rest::All;
        }
        let Some(handler) = self.router.sole(&self.group, delivered) else {
            return Rest::All;
        };
        if !self.slot.try_take() {
            return Rest::All;
        }
        let subscription = handler.info().subscription;
        if self.polled != subscription {
            self.polled = subscription;
            self.group.pulse.polls(subscription);
        }
        match handler.begin(delivered, self.agains.of(subscription)) {
            Begun::Done => Rest::Settle,
            Begun::More(first) => Rest::GoOn(Arc::clone(handler), first),
            Begun::Not => Rest::All,
        }
    }

    /// Whether nobody is in a message's lane, so that it needs none while its handler ends at once
    /// (contract O1).
    fn has_free_lane(&self, message: &Inbound) -> bool {
        if !self.group.settings.ordered || self.lanes.are_free() && self.closed_lanes.is_empty() {
            return true;
        }
        let is_taken = |lane| self.lanes.is_taken(&lane) || self.closed_lanes.contains(&lane);
        !LaneKey::of(message).is_some_and(is_taken)
    }
}
