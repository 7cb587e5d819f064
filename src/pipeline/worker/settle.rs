//! How a worker's deliveries end, and how it ends itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tidings_transport::EventId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Closed, Ran, Work, Worker};
use crate::bus::AfterDeadLetter;
use crate::pipeline::Finished;
use crate::pipeline::job::{Intake, Verdict};
use crate::pipeline::lanes::LaneKey;

/// How many empty places for deliveries are kept. One would do while every handler ends at once.
const SPARES: usize = 64;

impl Worker<'_> {
    pub(super) fn ran(&mut self, ran: Result<Ran, tokio::task::JoinError>) {
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
    pub(super) fn lost(&mut self, error: String) {
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

    pub(super) fn finish(&mut self, finished: Finished) {
        let Finished { job, verdict } = finished;
        match verdict {
            Verdict::Completed => self.successes += 1,
            Verdict::DeadLettered => self.group.counters.dead_lettered(),
            Verdict::Skipped => self.group.counters.skipped(),
            Verdict::PutAside | Verdict::Duplicate | Verdict::HandedBack => {}
        }
        if let Some((intake, handed_back)) = job.finish(verdict == Verdict::HandedBack) {
            self.settle(intake, handed_back);
        }
        let stops = self.group.settings.after_dead_letter == AfterDeadLetter::StopGroup;
        if stops && verdict == Verdict::DeadLettered {
            self.stop();
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
    pub(super) fn settle(&mut self, intake: Intake, handed_back: bool) {
        self.bytes -= intake.size();
        let lane = if self.group.settings.ordered {
            LaneKey::of(intake.message())
        } else {
            None
        };
        if handed_back {
            if let Some(lane) = lane {
                // Later events of the key must not pass it: the whole lane goes back.
                for work in self.lanes.close(&lane) {
                    self.bytes -= work.intake.size();
                    self.give_back(work.intake);
                }
                if self.group.draining.is_cancelled() || self.takes_in {
                    self.closed_lanes.insert(lane);
                }
            }
            self.give_back(intake);
            return;
        }
        self.unsettled -= 1;
        let completions = &self.group.bus.completions;
        let id = completions
            .is_tracking()
            .then(|| EventId::from(intake.delivered().envelope_id()));
        // Acking drops the event, whose own drop code may panic.
        match catch_unwind(AssertUnwindSafe(|| intake.ack())) {
            Ok(spare) if self.spares.len() < SPARES => self.spares.push(spare),
            Ok(_) => {}
            Err(panic) => {
                self.dropped_badly(&crate::text::safe(&crate::text::panic_message(panic)));
            }
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

    pub(super) fn dropped_badly(&self, error: &str) {
        tracing::error!(group = %self.group.name, error, "an event panicked while it was dropped");
    }

    pub(super) fn give_back(&mut self, intake: Intake) {
        if self.group.draining.is_cancelled() {
            self.handed_back.push(intake);
        } else {
            self.unsettled -= 1;
            intake.release();
        }
    }

    pub(super) fn quiesce(&mut self, subscription: u64, reply: oneshot::Sender<()>) {
        if self.running.contains_key(&subscription) {
            self.quiescing.push((subscription, reply));
        } else {
            let _ = reply.send(());
        }
    }

    /// Tells the rest of the bus how things stand, once per turn of the loop.
    pub(super) fn publish_state(&mut self) {
        if self.started > 0 || self.successes > 0 {
            let now = Instant::now();
            self.group
                .budget
                .record_first(std::mem::take(&mut self.started), now);
            self.group.counters.completed(u64::from(self.successes));
            self.group
                .gate
                .record_successes(std::mem::take(&mut self.successes), now);
        }
        self.group
            .counters
            .set_unsettled(self.unsettled, self.handed_back.len());
        self.group.bus.idle.changed();
        if self.stopped {
            self.group.bus.completions.wake();
        }
    }

    pub(super) async fn close(mut self, deadline: Duration) -> Closed {
        let abandoned = self.tasks.len();
        let mut closed = Closed {
            handed_back: self.unsettled.saturating_sub(abandoned),
            abandoned,
            error: None,
        };
        // Dropping a share gives its delivery back.
        self.tasks.shutdown().await;
        self.aside.shutdown().await;
        self.ready.clear();
        self.turns.clear();
        self.lanes.drain().for_each(drop);
        self.handed_back.clear();
        closed.error = self.consumer.close(deadline).await.err();
        closed
    }
}
