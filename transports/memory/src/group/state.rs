use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use tidings_transport::{Inbound, Message, Mode};
use tokio::time::Instant;

use super::Tally;
use super::lanes::Lanes;
use super::ready::Ready;
use crate::line::Topic;
use crate::sync::Wakers;

/// Everything of a group that its lock protects.
#[derive(Default)]
pub(crate) struct State {
    ready: Ready,
    /// Not due yet; the number keeps the order of those due at one moment.
    delayed: BTreeMap<(Instant, u64), Message>,
    next: u64,
    end: u64,
    /// Final messages, except those counted in the tallies of `seats`.
    settled: u64,
    /// Changes with everything that a waiting member may want to know.
    version: u64,
    seats: Vec<Seat>,
    lanes: Option<Lanes>,
    parked: Option<Parked>,
    more_parked: Vec<Parked>,
    /// Topics whose publishers wait for room here.
    starved: VecDeque<Weak<Topic>>,
    removed: bool,
}

/// What a removed group left, to be dropped outside of its lock.
#[derive(Default)]
pub(crate) struct Abandoned {
    ready: Ready,
    delayed: BTreeMap<(Instant, u64), Message>,
}

impl Abandoned {
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.delayed.len()
    }
}

/// A member, until it left and all its messages are settled.
struct Seat {
    tally: Arc<Tally>,
    /// Messages it holds that `lanes` follows.
    followed: usize,
}

struct Parked {
    seat: u64,
    waker: Waker,
}

/// Whether a message fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    Full,
    /// Full to the end of what its own handlers may spill.
    SpillFull,
    Removed,
}

/// What a member got.
#[derive(Debug)]
pub(crate) enum Taken {
    Some,
    /// Nothing now; wait for a change, or until something falls due.
    None {
        version: u64,
        due: Option<Instant>,
    },
    Closed,
}

impl State {
    /// Messages in the queue, delayed ones included.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.ready.len() + self.delayed.len()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, message: Message, due: Option<Instant>, wakers: &mut Wakers) {
        let position = self.next;
        self.next += 1;
        self.end += 1;
        self.version += 1;
        match due {
            None => self.ready.push(position, message),
            Some(due) => self.delay(due, position, message),
        }
        if self.parked.is_some() {
            self.unpark(wakers);
        }
    }

    /// `false` when the group is removed. From the second member of an ordered group on, lanes are
    /// followed, until the group was once without members and without unsettled messages.
    pub(crate) fn join(&mut self, tally: &Arc<Tally>, ordered: bool) -> bool {
        if self.removed {
            return false;
        }
        self.prune();
        if self.seats.is_empty() {
            self.lanes = None;
        } else if ordered && self.lanes.is_none() {
            self.lanes = Some(Lanes::default());
            self.seats.iter().for_each(|seat| seat.tally.watch_always());
        }
        if self.lanes.is_some() {
            tally.watch_always();
        }
        self.seats.push(Seat {
            tally: Arc::clone(tally),
            followed: 0,
        });
        true
    }

    pub(crate) fn leave(&mut self, tally: &Tally) -> Wakers {
        if !tally.go() {
            return Wakers::default();
        }
        // Its last settle frees the seat.
        tally.watch_always();
        self.changed()
    }

    pub(crate) fn remove(&mut self) -> Wakers {
        self.removed = true;
        self.starved.clear();
        // The last settle ends the members that wait.
        self.seats.iter().for_each(|seat| seat.tally.watch_always());
        self.changed()
    }

    /// What nobody will ever take.
    pub(crate) fn abandoned(&mut self) -> Abandoned {
        if !self.removed || self.seats.iter().any(|seat| !seat.tally.is_gone()) {
            return Abandoned::default();
        }
        Abandoned {
            ready: std::mem::take(&mut self.ready),
            delayed: std::mem::take(&mut self.delayed),
        }
    }

    pub(crate) fn take(&mut self, tally: &Tally, limit: usize, out: &mut Ready) -> Taken {
        if tally.is_gone() {
            return Taken::Closed;
        }
        if !self.delayed.is_empty() {
            self.promote();
        }
        if self.lanes.is_some() {
            self.take_by_lane(tally.seat, limit, out);
        } else {
            self.ready.move_front(limit, out);
        }
        if out.is_empty() {
            return self.taken_none();
        }
        tally.hand(out.len());
        if tally.mode == Mode::AtMostOnce {
            // contract: D9. Final before it is handed over.
            self.settled += out.len() as u64;
        }
        Taken::Some
    }

    pub(crate) fn finish_all(&mut self, tally: &Tally, positions: &[u64]) -> Wakers {
        for position in positions {
            self.unfollow(tally, *position);
        }
        tally.finish(positions.len());
        self.changed()
    }

    pub(crate) fn put_back(&mut self, tally: &Tally, position: u64, message: Inbound) -> Wakers {
        self.unfollow(tally, position);
        tally.give_back();
        self.ready.put_back(position, message);
        self.changed()
    }

    /// Something changed for the members: seats that ended are freed, who waits looks again.
    pub(crate) fn changed(&mut self) -> Wakers {
        self.prune();
        self.version += 1;
        let mut wakers = Wakers::default();
        self.unpark(&mut wakers);
        wakers
    }

    pub(crate) fn poll_changed(&mut self, seat: u64, version: u64, cx: &Context<'_>) -> Poll<()> {
        if self.version != version {
            return Poll::Ready(());
        }
        let parked = Parked {
            seat,
            waker: cx.waker().clone(),
        };
        match &mut self.parked {
            Some(other) if other.seat != seat => {
                self.more_parked.retain(|other| other.seat != seat);
                self.more_parked.push(parked);
            }
            place => *place = Some(parked),
        }
        Poll::Pending
    }

    /// How many messages came in, and how many are final.
    pub(crate) fn lag(&self) -> (u64, u64) {
        let counted = self.seats.iter().map(|seat| seat.finished());
        (self.end, self.settled + counted.sum::<u64>())
    }

    pub(crate) fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// A topic's publishers wait for room here.
    pub(crate) fn starve(&mut self, topic: &Weak<Topic>) {
        if !self.starved.iter().any(|other| other.ptr_eq(topic)) {
            self.starved.push_back(Weak::clone(topic));
        }
    }

    pub(crate) fn next_starved(&mut self) -> Option<Weak<Topic>> {
        self.starved.pop_front()
    }

    fn unpark(&mut self, wakers: &mut Wakers) {
        let parked = self
            .parked
            .take()
            .into_iter()
            .chain(self.more_parked.drain(..));
        parked.for_each(|parked| wakers.push(parked.waker));
    }

    #[cold]
    fn delay(&mut self, due: Instant, position: u64, message: Message) {
        self.delayed.insert((due, position), message);
    }

    /// What is due joins the end of the queue.
    fn promote(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let message = first.remove();
            self.ready.push(self.next, message);
            self.next += 1;
        }
    }

    fn take_by_lane(&mut self, seat: u64, limit: usize, out: &mut Ready) {
        let Some(lanes) = &mut self.lanes else { return };
        let others_untracked = self
            .seats
            .iter()
            .any(|other| other.tally.seat != seat && other.tally.unsettled() > other.followed);
        let mut picked = Vec::new();
        for (index, (position, message)) in self.ready.iter().enumerate() {
            if picked.len() == limit {
                break;
            }
            if lanes.allows(seat, message, others_untracked) {
                lanes.hold(seat, position, message);
                picked.push(index);
            }
        }
        if let Some(seat) = self.seats.iter_mut().find(|other| other.tally.seat == seat) {
            seat.followed += picked.len();
        }
        self.ready.move_picked(&picked, out);
    }

    fn unfollow(&mut self, tally: &Tally, position: u64) {
        if let Some(lanes) = &mut self.lanes
            && lanes.release(position)
            && let Some(seat) = self
                .seats
                .iter_mut()
                .find(|seat| seat.tally.seat == tally.seat)
        {
            seat.followed -= 1;
        }
    }

    fn taken_none(&self) -> Taken {
        let drained = self.removed
            && self.queued() == 0
            && self.seats.iter().all(|seat| seat.tally.unsettled() == 0);
        if drained {
            return Taken::Closed;
        }
        let due = self.delayed.first_key_value().map(|((due, _), _)| *due);
        Taken::None {
            version: self.version,
            due,
        }
    }

    fn prune(&mut self) {
        let settled = &mut self.settled;
        self.seats.retain(|seat| {
            let keep = !seat.tally.is_gone() || seat.tally.unsettled() > 0;
            if !keep {
                *settled += seat.finished();
            }
            keep
        });
    }
}

impl Seat {
    /// Final messages that are counted here alone.
    fn finished(&self) -> u64 {
        match self.tally.mode {
            Mode::AtLeastOnce | Mode::Replay { .. } => self.tally.finished(),
            Mode::AtMostOnce => 0,
        }
    }
}
