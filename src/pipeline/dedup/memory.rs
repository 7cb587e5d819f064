use std::time::Duration;

use tokio::time::Instant;

use super::DedupPolicy;
use super::table::{Record, Table};

/// Which ids are done, in which handlers, bounded by count and time.
#[derive(Debug)]
pub(super) struct Memory {
    table: Table,
    // A handler's bit is its place here. As many as the program has handler names.
    handlers: Vec<u64>,
    origin: Instant,
    tick: Duration,
    forgotten: u64,
}

/// What is remembered of an id for one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    New,
    /// The handler is done.
    Done,
    /// The id belongs to another payload.
    Other,
}

/// The window in ticks: an id is forgotten at most a 64th of the window late.
const WINDOW: u64 = 64;

impl Memory {
    pub(super) fn new(policy: &DedupPolicy) -> Self {
        let tick = policy.window.as_nanos().div_ceil(u128::from(WINDOW));
        Self {
            table: Table::new(policy.capacity),
            handlers: Vec::new(),
            origin: Instant::now(),
            tick: Duration::from_nanos(u64::try_from(tick).unwrap_or(u64::MAX).max(1)),
            forgotten: 0,
        }
    }

    /// Looks up an id, and forgets some of what is too old.
    pub(super) fn recall(
        &mut self,
        id: u128,
        handler: u64,
        payload: Option<u64>,
        now: Instant,
    ) -> Known {
        let tick = self.tick(now);
        self.prune(tick);
        let (page, bit) = self.place(handler);
        let Some(home) = self.get(id, tick) else {
            return Known::New;
        };
        if payload.is_some_and(|payload| differs(home, payload)) {
            return Known::Other;
        }
        let marks = if page == 0 {
            Some(home)
        } else {
            self.get(id_of_page(id, page), tick)
        };
        match marks {
            Some(record) if record.done & bit != 0 => Known::Done,
            _ => Known::New,
        }
    }

    /// Marks an id as done by a handler; true if ids within the window had to be forgotten for
    /// it.
    pub(super) fn mark(
        &mut self,
        id: u128,
        handler: u64,
        payload: Option<u64>,
        now: Instant,
    ) -> bool {
        let tick = self.tick(now);
        let (page, bit) = self.place(handler);
        let before = self.forgotten;
        let home = self.renew(id, tick);
        if let Some(payload) = payload {
            home.payload = digest(payload);
        }
        if page == 0 {
            home.done |= bit;
        } else {
            self.renew(id_of_page(id, page), tick).done |= bit;
        }
        self.forgotten != before
    }

    /// Ids remembered, those too old but not yet swept included.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many ids were forgotten within the window for want of capacity.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn renew(&mut self, id: u128, tick: u64) -> &mut Record {
        let known = self.get(id, tick).is_some();
        let (record, evicted) = self.table.renew(id, tick as u16);
        if evicted.is_some_and(|evicted| !is_over(evicted, tick)) {
            self.forgotten += 1;
        }
        if !known {
            // New, or still there although its time is over.
            (record.done, record.payload) = (0, [0; 3]);
        }
        record
    }

    fn get(&self, id: u128, tick: u64) -> Option<&Record> {
        self.table
            .get(id)
            .filter(|record| !is_over(record.tick, tick))
    }

    /// A bounded step, so that no single event pays for the removal of all others; nothing is
    /// left for later when everything is over.
    fn prune(&mut self, tick: u64) {
        if self
            .table
            .newest()
            .is_some_and(|record| is_over(record.tick, tick))
        {
            self.table.clear();
        }
        for _ in 0..16 {
            match self.table.oldest() {
                Some(record) if is_over(record.tick, tick) => self.table.remove_oldest(),
                _ => break,
            }
        }
    }

    fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        nanos(elapsed) / nanos(self.tick)
    }

    /// The page and the bit of a handler. A record has room for 32; the home record has those of
    /// page 0 and the payload, further ones have the marks of the others.
    fn place(&mut self, handler: u64) -> (usize, u32) {
        let known = self.handlers.iter().position(|&known| known == handler);
        let place = known.unwrap_or_else(|| {
            self.handlers.push(handler);
            self.handlers.len() - 1
        });
        (place / 32, 1 << (place % 32))
    }
}

/// Whether a mark of one tick is past the window at another. Ticks are stored in 16 bits: one that
/// lay unswept for 65,536 ticks would look new again, which only means that a true duplicate is
/// still recognised.
fn is_over(marked: u16, tick: u64) -> bool {
    u64::from((tick as u16).wrapping_sub(marked)) > WINDOW
}

fn differs(record: &Record, payload: u64) -> bool {
    record.payload != [0; 3] && record.payload != digest(payload)
}

/// 48 bits of a payload's hash, never zero.
fn digest(payload: u64) -> [u16; 3] {
    let folded = payload ^ (payload >> 48);
    let digest = [folded as u16, (folded >> 16) as u16, (folded >> 32) as u16];
    if digest == [0; 3] { [1, 0, 0] } else { digest }
}

fn id_of_page(id: u128, page: usize) -> u128 {
    id.wrapping_add((page as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn memory(capacity: usize, seconds: u64) -> Memory {
        let policy = DedupPolicy::default().capacity(capacity);
        Memory::new(&policy.window(Duration::from_secs(seconds)))
    }

    fn known(memory: &mut Memory, id: u128, handler: u64) -> Known {
        memory.recall(id, handler, None, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn hundreds_of_handlers_have_their_own_marks_and_share_one_payload() {
        let mut memory = memory(1_000, 600);
        let now = Instant::now();
        for handler in (0..200).step_by(2) {
            memory.mark(7, handler, Some(1), now);
        }
        for handler in 0..200 {
            let expected = if handler % 2 == 0 {
                Known::Done
            } else {
                Known::New
            };
            assert_eq!(
                memory.recall(7, handler, Some(1), now),
                expected,
                "{handler}"
            );
            assert_eq!(
                memory.recall(7, handler, Some(2), now),
                Known::Other,
                "{handler}"
            );
            assert_eq!(
                memory.recall(8, handler, Some(1), now),
                Known::New,
                "{handler}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_within_window_and_capacity_is_forgotten() {
        let mut memory = memory(1_000, 64);
        for id in 0..10_000_u128 {
            assert!(!memory.mark(id << 5, 1, None, Instant::now()));
            // 1,000 ids in 64 s and the tick that the window is late at most.
            advance(Duration::from_millis(67)).await;
            assert_eq!(known(&mut memory, id << 5, 1), Known::Done);
            let oldest = id.saturating_sub(950);
            assert_eq!(
                known(&mut memory, oldest << 5, 1),
                Known::Done,
                "{oldest} at {id}"
            );
        }
        assert_eq!(memory.forgotten(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_over_when_the_window_has_passed() {
        let mut memory = memory(1_000, 64);
        memory.mark(1, 1, Some(5), Instant::now());
        advance(Duration::from_secs(64)).await;
        assert_eq!(known(&mut memory, 1, 1), Known::Done);
        advance(Duration::from_secs(1)).await;
        assert_eq!(memory.recall(1, 1, Some(6), Instant::now()), Known::New);
        assert_eq!(memory.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_handler_has_the_whole_window_too() {
        let mut memory = memory(1_000, 64);
        memory.mark(1, 1, None, Instant::now());
        for id in 2..50 {
            memory.mark(id, 1, None, Instant::now());
        }
        advance(Duration::from_secs(60)).await;
        memory.mark(1, 2, None, Instant::now());
        advance(Duration::from_secs(60)).await;
        assert_eq!(known(&mut memory, 1, 2), Known::Done);
        assert_eq!(known(&mut memory, 49, 1), Known::New);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_whose_time_is_over_starts_clean() {
        let mut memory = memory(1_000, 64);
        for id in 0..100 {
            memory.mark(id, 1, Some(1), Instant::now());
        }
        advance(Duration::from_secs(60)).await;
        memory.mark(1_000, 1, None, Instant::now());
        advance(Duration::from_secs(20)).await;
        // More are over than one step sweeps, so record 99 is still there.
        assert_eq!(memory.recall(99, 1, Some(2), Instant::now()), Known::New);
        memory.mark(99, 2, Some(2), Instant::now());
        assert_eq!(memory.recall(99, 1, Some(2), Instant::now()), Known::New);
        assert_eq!(memory.recall(99, 2, Some(2), Instant::now()), Known::Done);
        assert_eq!(memory.forgotten(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn over_capacity_exactly_the_oldest_is_forgotten_and_counted() {
        let mut memory = memory(100, 600);
        for id in 0..100 {
            assert!(!memory.mark(id, 1, None, Instant::now()));
        }
        assert!(memory.mark(100, 1, None, Instant::now()));
        assert_eq!(memory.forgotten(), 1);
        assert_eq!(known(&mut memory, 0, 1), Known::New);
        for id in 1..=100 {
            assert_eq!(known(&mut memory, id, 1), Known::Done, "{id}");
        }
        // What is over makes room without being missed.
        advance(Duration::from_secs(700)).await;
        assert!(!memory.mark(101, 1, None, Instant::now()));
        assert_eq!(memory.forgotten(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_windows_neither_panic_nor_forget() {
        for window in [Duration::from_nanos(1), Duration::MAX] {
            let mut memory = Memory::new(&DedupPolicy::default().window(window));
            memory.mark(1, 1, None, Instant::now());
            assert_eq!(known(&mut memory, 1, 1), Known::Done);
            advance(Duration::from_secs(3_600)).await;
            let expected = if window == Duration::MAX {
                Known::Done
            } else {
                Known::New
            };
            assert_eq!(known(&mut memory, 1, 1), expected);
        }
    }
}
