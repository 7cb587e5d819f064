//! What comes back from `<group>.retry` before its wait is over: it is kept here, outside of its lane,
//! so that its key goes on (contract O3).

use std::sync::Arc;

use tidings_transport::Inbound;
use tokio::task::JoinError;

use super::Worker;
use crate::pipeline::dead::{Cause, Reason};
use crate::pipeline::intake::Plan;
use crate::pipeline::job::Intake;
use crate::pipeline::retry::Aside;
use crate::text::safe;

/// A delivery whose wait is over.
pub(super) struct Back {
    intake: Intake,
    /// Somebody else has it now.
    revoked: bool,
}

impl Worker<'_> {
    #[inline]
    pub(super) fn is_aside(&self, message: &Inbound) -> bool {
        self.group.retries.as_ref() == Some(&message.topic)
    }

    /// Makes a delivery again what it was, and has it wait if it is early.
    pub(super) fn comes_back(&mut self, mut intake: Intake) {
        let (message, aside) = match Aside::read(&self.group, intake.message()) {
            Ok(read) => read,
            Err(error) => {
                let cause = Cause::new(Reason::Decode("retry"), safe(&error), 0);
                return self.admit_to(intake, Plan::DeadLetter(cause));
            }
        };
        let wait = aside.wait;
        let handlers = &self.table.load().handlers;
        let wanted = handlers.iter().find(|it| it.info().name == aside.handler);
        let handler = wanted.map(Arc::clone);
        intake.comes_back(message, aside);
        self.unsettled += 1;
        self.aside_bytes += intake.size();
        let group = Arc::clone(&self.group);
        self.aside.spawn(async move {
            let revoked = intake.delivered().revoked().clone();
            let over = async {
                tokio::time::sleep(wait).await;
                group.budget.acquire().await;
            };
            let removed = async {
                if let Some(handler) = handler {
                    handler.info().removed().await;
                }
            };
            let revoked = tokio::select! {
                // contract: S2, a waiting retry runs its next attempt at once
                () = group.draining.cancelled() => false,
                () = revoked.cancelled() => true,
                () = over => false,
                () = removed => false,
            };
            Back { intake, revoked }
        });
        self.group.counters.set_aside(self.aside.len());
    }

    pub(super) fn is_back(&mut self, back: Result<Back, JoinError>) {
        self.group.counters.set_aside(self.aside.len());
        match back {
            Ok(Back {
                mut intake,
                revoked,
            }) => {
                self.aside_bytes -= intake.size();
                if revoked || self.stopped {
                    self.give_back(intake);
                    return;
                }
                self.bytes += intake.size();
                let plan = self.router.route(&self.group, &mut intake);
                self.enter(intake, plan);
            }
            Err(error) => self.lost(safe(&error.to_string())),
        }
    }
}
