//! Retries may be a fifth of the first attempts, no more (R2).
//!
//! When a dependency fails, every event turns into five attempts and the load on it into five
//! times the usual: the moment it can least bear that. The budget keeps the retries of a group to
//! 20 % of its first attempts of the last ten seconds, or to ten in this second where that is
//! more. A retry beyond it is not given up: it waits for its turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// The budget of one group. Shared by its workers.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    percent: u64,
    per_second: u64,
    origin: Instant,
    firsts: [Second; SECONDS],
    retries: Mutex<[(u64, u64); SECONDS]>,
    // One waiter at a time watches the clock; the semaphore keeps the others in order.
    turn: Semaphore,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(20, 10)
    }
}

impl RetryBudget {
    /// Retries up to `percent` of the first attempts in ten seconds, or `per_second` in a second.
    pub(crate) fn new(percent: u32, per_second: u32) -> Self {
        Self {
            percent: u64::from(percent),
            // Zero would make a retry wait for ever once first attempts stop.
            per_second: u64::from(per_second.max(1)),
            origin: Instant::now(),
            firsts: Default::default(),
            retries: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }

    /// Takes note of first attempts. Takes no lock; one atomic addition, so count a batch at once
    /// where there is one.
    pub(crate) fn record_first(&self, count: u32, now: Instant) {
        let second = self.second(now);
        self.firsts[slot(second)].add(second, count);
    }

    /// Waits until a retry is within the budget and counts it. In order of arrival.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has counted nothing and leaves the queue.
    pub(crate) async fn acquire(&self) {
        // The semaphore is never closed; were it, retrying would be better than stopping.
        let _turn = self.turn.acquire().await;
        while let Err(later) = self.take(Instant::now()) {
            sleep_until(later).await;
        }
    }

    /// Counts a retry now if it is within the budget and nobody waits.
    #[cfg(test)]
    pub(crate) fn try_acquire(&self, now: Instant) -> bool {
        self.turn
            .try_acquire()
            .is_ok_and(|_turn| self.take(now).is_ok())
    }

    /// Counts a retry, or says when to ask again.
    fn take(&self, now: Instant) -> Result<(), Instant> {
        let second = self.second(now);
        let first: u64 = self.firsts.iter().map(|at| at.count(second)).sum();
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let spent: u64 = retries
            .iter()
            .filter(|(at, _)| is_recent(*at, second))
            .map(|(_, count)| count)
            .sum();
        let here = &mut retries[slot(second)];
        if here.0 != second {
            *here = (second, 0);
        }
        if here.1 < self.per_second || spent < first * self.percent / 100 {
            here.1 += 1;
            return Ok(());
        }
        // The next second brings at least its own allowance.
        let next = Duration::from_secs(second - EPOCH + 1);
        Err(self
            .origin
            .checked_add(next)
            .unwrap_or(now + Duration::from_secs(1)))
    }

    /// Seconds since the start, shifted so that 0 is never a current one.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs() + EPOCH
    }
}

const SECONDS: usize = 10;

/// The number of the first second: an untouched slot, with number 0, must look old.
const EPOCH: u64 = SECONDS as u64;

fn slot(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

fn is_recent(second: u64, now: u64) -> bool {
    // A slot may be ahead of a caller whose `now` was read before somebody else's.
    second + SECONDS as u64 > now
}

/// The number of a second and what was counted in it, in one word, so that neither is ever read
/// without the other: 32 bits each, enough for 136 years and four thousand million a second.
#[derive(Debug, Default)]
struct Second(AtomicU64);

impl Second {
    fn add(&self, second: u64, count: u32) {
        let number = second << 32;
        if self.0.load(Ordering::Relaxed) >= number {
            // This second, or a newer one that this caller's older `now` is late for.
            self.0.fetch_add(u64::from(count), Ordering::Relaxed);
            return;
        }
        let begun = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                (word < number).then_some(number + u64::from(count))
            });
        if begun.is_err() {
            self.0.fetch_add(u64::from(count), Ordering::Relaxed);
        }
    }

    fn count(&self, now: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        if is_recent(word >> 32, now) {
            word & u64::from(u32::MAX)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;
    use tokio::time::advance;

    use super::*;

    fn taken(budget: &RetryBudget, tries: u32) -> u32 {
        (0..tries)
            .map(|_| u32::from(budget.try_acquire(Instant::now())))
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_first_attempts_may_be_retried() {
        let budget = RetryBudget::default();
        for _ in 0..10 {
            budget.record_first(1_000, Instant::now());
            advance(Duration::from_millis(900)).await;
        }
        assert_eq!(taken(&budget, 5_000), 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn ten_a_second_are_always_allowed() {
        let budget = RetryBudget::default();
        for _ in 0..30 {
            assert_eq!(taken(&budget, 100), 10);
            advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_ten_seconds_allows_nothing() {
        let budget = RetryBudget::default();
        budget.record_first(1_000_000, Instant::now());
        advance(Duration::from_secs(9)).await;
        assert!(budget.try_acquire(Instant::now()));
        assert_eq!(taken(&budget, 500), 500);
        advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&budget, 500), 10);
        // The slot is reused for a new second and its old count is gone.
        budget.record_first(100, Instant::now());
        advance(Duration::from_secs(20)).await;
        assert_eq!(taken(&budget, 500), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_beyond_the_budget_waits_for_its_turn() {
        let budget = Arc::new(RetryBudget::default());
        let begun = Instant::now();
        let mut waiting = JoinSet::new();
        for number in 0..35_u64 {
            let budget = Arc::clone(&budget);
            waiting.spawn(async move {
                budget.acquire().await;
                (number, begun.elapsed().as_secs())
            });
        }
        let mut done = waiting.join_all().await;
        done.sort_unstable();
        for (number, second) in done {
            assert_eq!(second, number / 10, "retry {number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_costs_nothing_and_holds_up_nobody() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 100), 10);
        let short = Duration::from_millis(10);
        for _ in 0..50 {
            assert!(tokio::time::timeout(short, budget.acquire()).await.is_err());
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&budget, 100), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_a_waiter() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 100), 10);
        let mut waiter = Box::pin(budget.acquire());
        assert!(poll_once(waiter.as_mut()).await.is_none());
        budget.record_first(1_000, Instant::now());
        assert!(!budget.try_acquire(Instant::now()));
        waiter.await;
        assert!(budget.try_acquire(Instant::now()));
    }

    /// The output if it is there at once.
    async fn poll_once<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_from_many_threads_all_arrive() {
        let budget = Arc::new(RetryBudget::default());
        let now = Instant::now() + Duration::from_secs(3);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || (0..10_000).for_each(|_| budget.record_first(1, now)))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        let second = budget.second(now);
        assert_eq!(budget.firsts[slot(second)].count(second), 40_000);
    }
}
