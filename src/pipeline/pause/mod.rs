//! A group whose events all fail pauses, and tries one now and then (R2, house rule 5).
//!
//! Without it a dead dependency turns a group's whole backlog into dead letters. What counts is
//! *finals*: a success, or a delivery given up after exhausted transient failures, panics or
//! timeouts. Permanent and decode errors count as neither: they speak about their event, and a
//! burst of bad events must not stop the good ones, nor may it hide an outage. An exhausted rate
//! limit counts as neither too: the dependency answers.

mod policy;

use std::time::Duration;

use tokio::time::Instant;

pub use policy::PausePolicy;

/// Whether a group takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It does.
    Running,
    /// It takes one event at this time, after [`Breaker::probe_started`], and none before.
    Paused {
        /// When; may have passed.
        probe_at: Instant,
    },
    /// It waits for the event that it took.
    Probing,
}

/// Watches the finals of one group, for the one task that runs it.
///
/// For a delivery that used up its attempts: first [`record`](Self::record) it as failed, then ask
/// [`should_park`](Self::should_park); the failure that tips the scale is thereby kept as well.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: PausePolicy,
    state: State,
    // How long the current pause waits for its next probe.
    wait: Duration,
    slice: Duration,
    slice_ends: Instant,
    current: usize,
    tallies: [Tally; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    succeeded: u32,
    failed: u32,
}

const SLICES: usize = 30;

impl Breaker {
    pub(crate) fn new(policy: PausePolicy) -> Self {
        let slice = (policy.window / SLICES as u32).max(Duration::from_nanos(1));
        let now = Instant::now();
        Self {
            wait: policy.first_probe,
            policy,
            state: State::Running,
            slice,
            slice_ends: now.checked_add(slice).unwrap_or(now),
            current: 0,
            tallies: [Tally::default(); SLICES],
        }
    }

    /// Takes note of finals that went well; `now` may be as old as their batch. What ends during a
    /// pause, other than the probe, changes nothing: it began before it.
    pub(crate) fn record_successes(&mut self, count: u32, now: Instant) {
        let tally = self.tally(now);
        tally.succeeded = tally.succeeded.saturating_add(count);
    }

    /// As [`record_successes`](Self::record_successes), for one that went badly.
    pub(crate) fn record_failure(&mut self, now: Instant) {
        let tally = self.tally(now);
        tally.failed = tally.failed.saturating_add(1);
        self.judge(now);
    }

    fn tally(&mut self, now: Instant) -> &mut Tally {
        if now >= self.slice_ends {
            self.turn(now);
        }
        &mut self.tallies[self.current]
    }

    /// Whether the group takes events.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether a delivery that used up its attempts is to be kept rather than dead-lettered.
    #[inline]
    pub(crate) fn should_park(&self) -> bool {
        self.state != State::Running
    }

    /// One event was taken to see whether the group can go on.
    pub(crate) fn probe_started(&mut self) {
        if self.should_park() {
            self.state = State::Probing;
        }
    }

    /// That event's single attempt ended: a success resumes the group, a failure doubles the wait.
    /// A permanent or decode error is told by [`probe_lost`](Self::probe_lost).
    pub(crate) fn probe_result(&mut self, success: bool, now: Instant) {
        if self.state != State::Probing {
            return;
        }
        if success {
            self.state = State::Running;
            self.wait = self.policy.first_probe;
            self.tallies = [Tally::default(); SLICES];
        } else {
            self.wait = self.wait.saturating_mul(2).min(self.policy.longest_probe);
            self.pause(now);
        }
    }

    /// That event said nothing about the group: it failed for good by its own fault, or was given
    /// back untried. Another one is tried after the same wait.
    pub(crate) fn probe_lost(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.pause(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        if !self.policy.enabled || self.should_park() {
            return;
        }
        let (finals, failed) = self
            .tallies
            .iter()
            .fold((0_u64, 0_u64), |(finals, failed), at| {
                let here = u64::from(at.failed);
                (finals + here + u64::from(at.succeeded), failed + here)
            });
        if finals >= u64::from(self.policy.finals)
            && failed * 100 >= finals * u64::from(self.policy.failed_percent)
        {
            self.wait = self.policy.first_probe;
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        // A wait beyond what the clock can hold is as good as a year.
        let probe_at = now.checked_add(self.wait).unwrap_or(now + YEAR);
        self.state = State::Paused { probe_at };
    }

    /// Moves on to the slice that `now` is in, and empties those that are out of the window.
    #[cold]
    fn turn(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.slice_ends);
        let slices = late.as_nanos() / self.slice.as_nanos() + 1;
        let slices = usize::try_from(slices).unwrap_or(usize::MAX);
        for _ in 0..slices.min(SLICES) {
            self.current = (self.current + 1) % SLICES;
            self.tallies[self.current] = Tally::default();
        }
        let behind = self
            .slice
            .saturating_mul(u32::try_from(slices).unwrap_or(u32::MAX));
        self.slice_ends = self
            .slice_ends
            .checked_add(behind)
            .filter(|&ends| ends > now)
            .or_else(|| now.checked_add(self.slice))
            .unwrap_or(now + YEAR);
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn fail(breaker: &mut Breaker, times: u32) {
        (0..times).for_each(|_| breaker.record_failure(Instant::now()));
    }

    fn succeed(breaker: &mut Breaker, times: u32) {
        breaker.record_successes(times, Instant::now());
    }

    fn paused() -> Breaker {
        let mut breaker = Breaker::new(PausePolicy::default());
        fail(&mut breaker, 20);
        assert!(breaker.should_park());
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn the_twentieth_failure_pauses_the_group_and_is_kept() {
        let mut breaker = Breaker::new(PausePolicy::default());
        fail(&mut breaker, 19);
        assert_eq!(breaker.state(), State::Running);
        assert!(!breaker.should_park());
        fail(&mut breaker, 1);
        assert_eq!(
            breaker.state(),
            State::Paused {
                probe_at: Instant::now() + second(1)
            }
        );
        assert!(breaker.should_park());
    }

    #[tokio::test(start_paused = true)]
    async fn nine_of_ten_must_fail() {
        let mut breaker = Breaker::new(PausePolicy::default());
        succeed(&mut breaker, 3);
        fail(&mut breaker, 26);
        assert_eq!(breaker.state(), State::Running, "26 of 29 is below 90 %");
        fail(&mut breaker, 1);
        assert!(breaker.should_park(), "27 of 30 is 90 %");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_thirty_seconds_count() {
        let mut breaker = Breaker::new(PausePolicy::default());
        succeed(&mut breaker, 1_000);
        advance(second(31)).await;
        fail(&mut breaker, 19);
        advance(second(28)).await;
        assert_eq!(breaker.state(), State::Running);
        fail(&mut breaker, 1);
        assert!(
            breaker.should_park(),
            "the successes are forgotten, the failures not yet"
        );

        let mut breaker = Breaker::new(PausePolicy::default());
        for _ in 0..200 {
            fail(&mut breaker, 1);
            advance(second(2)).await;
        }
        assert_eq!(breaker.state(), State::Running, "never 20 in 30 s");
        advance(second(86_400)).await;
        fail(&mut breaker, 19);
        assert_eq!(breaker.state(), State::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn each_failed_probe_doubles_the_wait_up_to_the_longest() {
        let mut breaker = paused();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let State::Paused { probe_at } = breaker.state() else {
                panic!("{:?}", breaker.state())
            };
            waits.push((probe_at - Instant::now()).as_secs());
            tokio::time::sleep_until(probe_at).await;
            breaker.probe_started();
            assert_eq!(breaker.state(), State::Probing);
            assert!(breaker.should_park());
            breaker.probe_result(false, Instant::now());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_successful_probe_resumes_with_a_clean_slate() {
        let mut breaker = paused();
        breaker.probe_started();
        breaker.probe_result(false, Instant::now());
        breaker.probe_started();
        breaker.probe_result(true, Instant::now());
        assert_eq!(breaker.state(), State::Running);
        fail(&mut breaker, 19);
        assert_eq!(
            breaker.state(),
            State::Running,
            "the failures before the pause are forgotten"
        );
        fail(&mut breaker, 1);
        assert_eq!(
            breaker.state(),
            State::Paused {
                probe_at: Instant::now() + second(1)
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_says_nothing_is_repeated_after_the_same_wait() {
        let mut breaker = paused();
        breaker.probe_started();
        breaker.probe_result(false, Instant::now());
        breaker.probe_started();
        breaker.probe_lost(Instant::now());
        assert_eq!(
            breaker.state(),
            State::Paused {
                probe_at: Instant::now() + second(2)
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_a_pause_does_not_end_it() {
        let mut breaker = paused();
        let state = breaker.state();
        succeed(&mut breaker, 100);
        fail(&mut breaker, 100);
        breaker.probe_result(true, Instant::now());
        breaker.probe_lost(Instant::now());
        assert_eq!(breaker.state(), state, "no probe was started");

        let mut running = Breaker::new(PausePolicy::default());
        running.probe_started();
        running.probe_result(false, Instant::now());
        assert_eq!(running.state(), State::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn off_never_pauses_and_extremes_never_panic() {
        let mut off = Breaker::new(PausePolicy::off());
        fail(&mut off, 1_000);
        assert_eq!(off.state(), State::Running);
        for (window, probe) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
        ] {
            let policy = PausePolicy::default().window(window);
            let mut breaker = Breaker::new(policy.first_probe(probe).longest_probe(probe));
            fail(&mut breaker, 20);
            advance(second(3_600)).await;
            fail(&mut breaker, 20);
            breaker.probe_started();
            breaker.probe_result(false, Instant::now());
        }
    }
}
