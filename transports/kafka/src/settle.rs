//! One assignment of one partition to this member: what was polled, what is out, what is final, and
//! from that the one offset that may be committed (D3).

mod ahead;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidings_transport::{Batch, Inbound, Mode, Name, Received, Settle};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use ahead::{Ahead, Level};

/// What the assignments of one member tell its thread and who receives.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// There is something to receive.
    pub(crate) ready: Notify,
    /// Who receives waits for something.
    pub(crate) wanted: AtomicBool,
    /// Finals since the last commit.
    pub(crate) finals: AtomicUsize,
    /// Settled after their assignment was lost (D4).
    pub(crate) late: AtomicU64,
    /// Something was settled.
    pub(crate) idle: Notify,
    // What the thread waits for, and the thread.
    waits: AtomicU8,
    thread: Mutex<Option<std::thread::Thread>>,
}

/// What the thread of a member waits for.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Wait {
    /// Something is handed over.
    Room = 1,
    /// Something is settled.
    Settled = 2,
}

impl Bell {
    /// Waits on the member's own thread until that happens, or for so long.
    pub(crate) fn wait(&self, what: Wait, time: std::time::Duration, done: impl Fn() -> bool) {
        *self.thread() = Some(std::thread::current());
        self.waits.store(what as u8, Ordering::SeqCst);
        if !done() {
            std::thread::park_timeout(time);
        }
        self.waits.store(0, Ordering::SeqCst);
    }

    fn settled(&self) {
        self.idle.notify_waiters();
        self.wake(Wait::Settled);
    }

    fn wake(&self, what: Wait) {
        if self.waits.load(Ordering::SeqCst) == what as u8
            && let Some(thread) = &*self.thread()
        {
            thread.unpark();
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<std::thread::Thread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Partition {
    pub(crate) topic: Name,
    pub(crate) number: i32,
    mode: Mode,
    // How many may be out at once.
    window: usize,
    bell: Arc<Bell>,
    lost: CancellationToken,
    /// Behind what a replay reads of it.
    end: OnceLock<i64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Polled, and not taken over yet: of a group that takes before it hands over.
    held: Ahead,
    /// Polled and not handed over, in the order of their offsets.
    ready: Ahead,
    /// Polled and not final, with what is final behind the first of them.
    records: VecDeque<Record>,
    /// Handed over and not settled.
    out: usize,
    /// Behind the last that was polled.
    next: Option<i64>,
    /// What was stored last.
    stored: Option<i64>,
    /// Nothing is handed over or counted any more.
    over: bool,
    paused: bool,
}

#[derive(Clone, Copy)]
struct Record {
    offset: i64,
    is_final: bool,
}

impl Partition {
    pub(crate) fn new(
        topic: Name,
        number: i32,
        window: usize,
        mode: Mode,
        bell: &Arc<Bell>,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic,
            number,
            mode,
            window,
            bell: Arc::clone(bell),
            lost: CancellationToken::new(),
            end: OnceLock::new(),
            state: Mutex::default(),
        })
    }

    pub(crate) fn is_at(&self, (topic, number): (&str, i32)) -> bool {
        self.number == number && self.topic.as_str() == topic
    }

    /// Takes in what was polled, with offsets for indexes. What was lost meanwhile is its next
    /// owner's.
    pub(crate) fn take_in(&self, polled: &mut Vec<Received>) {
        let Some(last) = polled.last().map(Received::index) else {
            return;
        };
        let mut state = self.state();
        if self.lost.is_cancelled() {
            drop(state);
            return polled.clear();
        }
        state.next = Some(last.cast_signed() + 1);
        match self.mode {
            Mode::AtMostOnce => state.held.extend(polled.drain(..)),
            Mode::AtLeastOnce | Mode::Replay { .. } => {
                let records = polled.iter().map(|received| Record {
                    offset: received.index().cast_signed(),
                    is_final: false,
                });
                state.records.extend(records);
                state.ready.extend(polled.drain(..));
            }
        }
    }

    /// How many may be taken over now, and the offset behind them, to be committed first (D9). No
    /// more than the window, which is what a crash may lose.
    pub(crate) fn to_take_over(&self) -> Option<(usize, i64)> {
        let state = self.state();
        let room = self.window.saturating_sub(state.out + state.ready.len());
        let count = room.min(state.held.len());
        let last = state.held.offset(count.checked_sub(1)?)?;
        Some((count, last + 1))
    }

    /// They are committed.
    pub(crate) fn take_over(&self, count: usize) {
        let mut state = self.state();
        if self.lost.is_cancelled() {
            return;
        }
        let taken = state.held.take(count);
        state.ready.extend(taken.into_iter());
    }

    /// Whether anything waits to be taken over.
    pub(crate) fn holds(&self) -> bool {
        !self.state().held.is_empty()
    }

    /// Hands over at most `max`, as far as the window goes.
    pub(crate) fn hand_over(self: &Arc<Self>, max: usize, batch: &mut Batch) {
        let mut state = self.state();
        let room = max.min(state.room(self.window, self.mode));
        if state.over || room == 0 {
            return;
        }
        let settle: Arc<dyn Settle> = Arc::clone(self) as _;
        let before = batch.len();
        state.ready.hand_over(room, batch, &settle);
        state.out += batch.len() - before;
        let has_room = state.level().has_room(self.window);
        drop(state);
        if has_room {
            self.bell.wake(Wait::Room);
        }
    }

    /// Whether as many wait here as may.
    pub(crate) fn is_clogged(&self) -> bool {
        let state = self.state();
        !state.over && !state.paused && state.level().is_full(self.window)
    }

    /// Whether there is room again, half of what may wait.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state();
        state.over || state.paused || state.level().has_room(self.window)
    }

    /// Whether it should be paused, or go on, if that is not so already; half of what may wait lies
    /// between the two.
    pub(crate) fn pause(&self) -> Option<bool> {
        let mut state = self.state();
        if state.over {
            return None;
        }
        let wanted = match state.paused {
            false => state.level().is_full(self.window),
            true => !state.level().has_room(self.window),
        };
        (wanted != state.paused).then(|| {
            state.paused = wanted;
            wanted
        })
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// How many are out.
    pub(crate) fn unsettled(&self) -> usize {
        self.state().out
    }

    /// The next offset to store, if it moved: everything before it is final (D3).
    pub(crate) fn to_store(&self) -> Option<i64> {
        if self.mode == Mode::AtMostOnce {
            // Committed as it was taken over; what is held is not.
            return None;
        }
        let mut state = self.state();
        let moved = state
            .mark()
            .filter(|mark| state.stored.is_none_or(|stored| *mark > stored))?;
        state.stored = Some(moved);
        Some(moved)
    }

    /// Everything before it is final.
    pub(crate) fn mark(&self) -> Option<i64> {
        let mark = self.state().mark();
        mark.filter(|_| self.mode != Mode::AtMostOnce)
    }

    /// Behind the last that was polled, where that is known.
    pub(crate) fn position(&self) -> Option<i64> {
        self.state().next
    }

    /// Where it begins, where that is an offset.
    pub(crate) fn begin_at(&self, offset: i64) {
        let mut state = self.state();
        state.stored = Some(offset);
        state.next = Some(offset);
    }

    /// A replay reads it to before this offset.
    pub(crate) fn ends_at(&self, offset: i64) {
        self.end.get_or_init(|| offset);
    }

    pub(crate) fn end_of_replay(&self) -> Option<i64> {
        self.end.get().copied()
    }

    /// Nothing before this offset is left to be polled.
    pub(crate) fn read_to(&self, offset: i64) {
        self.state().next = Some(offset);
    }

    /// Whether all that was polled is settled.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.over || state.out + state.held.len() + state.ready.len() == 0
    }

    /// Hands over no more; what was not handed over is forgotten and comes again elsewhere.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.held.clear();
        state.ready.clear();
        drop(state);
        self.lost.cancel();
    }

    /// Ends the assignment: what is settled from here on is late (D4). Gives back how many are out.
    pub(crate) fn end(&self) -> usize {
        let mut state = self.state();
        state.over = true;
        state.held.clear();
        state.ready.clear();
        let unsettled = state.out;
        drop(state);
        self.lost.cancel();
        unsettled
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self, offset: u64) {
        let late = self.bell.late.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(topic = %self.topic, partition = self.number, offset, late,
            "settled after its partition was lost: no effect");
    }
}

impl State {
    /// How much was polled and not handed over.
    fn level(&self) -> Level {
        let mut level = self.held.level();
        level += self.ready.level();
        level
    }

    fn mark(&self) -> Option<i64> {
        let first = self.records.front().map(|record| record.offset);
        first.or(self.next)
    }

    /// How many of those that wait may be handed over. The window reaches from the first that is not
    /// final, so that no more than its length comes again after a crash (D3, O2).
    fn room(&self, window: usize, mode: Mode) -> usize {
        match (mode, self.records.get(window)) {
            (Mode::AtMostOnce, _) => window.saturating_sub(self.out).min(self.ready.len()),
            (_, None) => self.ready.len(),
            (_, Some(beyond)) => self.ready.before(beyond.offset),
        }
    }

    fn finish(&mut self, offset: i64) {
        if self.records.front().is_some_and(|it| it.offset == offset) {
            self.records.pop_front();
        } else {
            let found = self
                .records
                .binary_search_by_key(&offset, |record| record.offset);
            if let Some(record) = found.ok().and_then(|at| self.records.get_mut(at)) {
                record.is_final = true;
            }
        }
        while self.records.front().is_some_and(|record| record.is_final) {
            self.records.pop_front();
        }
    }
}

impl Settle for Partition {
    fn ack(&self, index: u64) {
        self.ack_all(&[index]);
    }

    fn ack_all(&self, indexes: &[u64]) {
        let mut state = self.state();
        if state.over {
            drop(state);
            indexes.iter().for_each(|index| self.late(*index));
            return;
        }
        for index in indexes {
            state.out -= 1;
            if self.mode != Mode::AtMostOnce {
                state.finish(index.cast_signed());
            }
        }
        let waiting = !state.ready.is_empty();
        drop(state);
        self.bell.finals.fetch_add(indexes.len(), Ordering::AcqRel);
        if waiting {
            self.bell.ready.notify_one();
        }
        self.bell.settled();
    }

    fn release(&self, index: u64, message: Inbound) {
        let mut state = self.state();
        if state.over {
            drop(state);
            return self.late(index);
        }
        state.out -= 1;
        if self.mode != Mode::AtMostOnce && !self.lost.is_cancelled() {
            state.ready.put_back(index, message);
        }
        drop(state);
        self.bell.ready.notify_one();
        self.bell.settled();
    }

    fn revoked(&self) -> &CancellationToken {
        &self.lost
    }
}

#[cfg(test)]
mod tests;
