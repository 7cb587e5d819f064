use std::time::Duration;

use fastrand::Rng;

use super::{RetryPolicy, SHORTEST_WAIT};
use crate::handler::Class;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// Another attempt, after this long.
    Retry(Duration),
    /// None.
    DeadLetter(GivenUp),
}

/// Why a delivery gets no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// The attempts are used up; the last one failed with an ordinary error.
    Exhausted,
    /// The attempts, or the panics allowed, are used up; the last one panicked.
    Panicked,
    /// The attempts are used up; the last one ran into its deadline.
    TimedOut,
    /// Waiting as long as asked would pass `rate_limited_total`.
    RateLimited,
    /// A permanent error.
    Permanent,
}

impl GivenUp {
    /// The word used on the wire, in logs and as a metric label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::RateLimited => "rate_limited",
            Self::Permanent => "permanent",
        }
    }

    /// Whether it speaks about what the handler depends on rather than about the event, and so
    /// counts towards the group's pause (house rule 5).
    pub(crate) fn counts_towards_pause(self) -> bool {
        matches!(self, Self::Exhausted | Self::Panicked | Self::TimedOut)
    }
}

/// The attempts of one handler at one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    failed: u32,
    panics: u32,
    rate_limited: Duration,
}

impl Attempts {
    /// A delivery that has never been tried.
    pub(crate) const FRESH: Self = Self {
        failed: 0,
        panics: 0,
        rate_limited: Duration::ZERO,
    };

    /// A delivery that failed `prior` times before it came here, as a redelivery or a redrive
    /// says.
    ///
    /// The count may be forged or may count deliveries that were only handed back, so it can use
    /// up all attempts but one: what arrives is tried at least once, and no count, however small,
    /// adds attempts (misuse 66).
    pub(crate) fn resumed(prior: u32, policy: &RetryPolicy) -> Self {
        Self {
            failed: prior.min(policy.attempts.saturating_sub(1)),
            ..Self::FRESH
        }
    }

    /// What of the other limits was used up before a retry that was put aside. A forged count takes
    /// no attempt away but those that panic.
    pub(crate) fn with(mut self, panics: u32, rate_limited: Duration) -> Self {
        self.panics = panics;
        self.rate_limited = rate_limited;
        self
    }

    /// How many of them panicked, as far as that is known.
    pub(crate) fn panics(&self) -> u32 {
        self.panics
    }

    /// How long it waited because it was told to.
    pub(crate) fn rate_limited(&self) -> Duration {
        self.rate_limited
    }

    /// The number of the attempt that runs now, from 1. A rate-limited attempt keeps its number
    /// for the next try.
    pub(crate) fn number(&self) -> u32 {
        self.failed.saturating_add(1)
    }

    /// Attempts that failed so far, those before a redelivery included.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// Takes note of a failed attempt and decides what follows.
    // contract: R1, R3
    pub(crate) fn after(&mut self, class: Class, policy: &RetryPolicy, rng: &mut Rng) -> Next {
        let last = match class {
            Class::Permanent => return self.give_up(GivenUp::Permanent),
            Class::RateLimited(wait) => return self.wait_as_asked(wait, policy),
            Class::Transient => GivenUp::Exhausted,
            Class::Timeout => GivenUp::TimedOut,
            Class::Panic => {
                self.panics = self.panics.saturating_add(1);
                GivenUp::Panicked
            }
        };
        self.failed = self.failed.saturating_add(1);
        let panicked_out = last == GivenUp::Panicked && self.panics >= policy.panics;
        if self.failed >= policy.attempts || panicked_out {
            return Next::DeadLetter(last);
        }
        Next::Retry(policy.delay(self.failed, rng))
    }

    fn give_up(&mut self, why: GivenUp) -> Next {
        self.failed = self.failed.saturating_add(1);
        Next::DeadLetter(why)
    }

    /// The wait is what was asked for, without jitter, but no shorter than the policy's base: a
    /// handler that asks for zero must not spin, and must reach the total some day.
    fn wait_as_asked(&mut self, asked: Duration, policy: &RetryPolicy) -> Next {
        let wait = asked.max(policy.base).max(SHORTEST_WAIT);
        let total = self.rate_limited.saturating_add(wait);
        if total > policy.rate_limited_total {
            return self.give_up(GivenUp::RateLimited);
        }
        self.rate_limited = total;
        Next::Retry(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(policy: &RetryPolicy, mut attempts: Attempts, classes: &[Class]) -> Vec<Next> {
        let mut rng = Rng::with_seed(3);
        let mut all = Vec::new();
        for &class in classes {
            let next = attempts.after(class, policy, &mut rng);
            all.push(next);
            if matches!(next, Next::DeadLetter(_)) {
                break;
            }
        }
        all
    }

    fn end(nexts: &[Next]) -> (usize, Next) {
        (nexts.len(), *nexts.last().expect("at least one attempt"))
    }

    #[test]
    fn the_fifth_failure_is_the_last() {
        let policy = RetryPolicy::default();
        for (class, why) in [
            (Class::Transient, GivenUp::Exhausted),
            (Class::Timeout, GivenUp::TimedOut),
        ] {
            let nexts = run(&policy, Attempts::FRESH, &[class; 9]);
            assert_eq!(end(&nexts), (5, Next::DeadLetter(why)));
            for (n, next) in (1..).zip(&nexts[..4]) {
                let Next::Retry(wait) = next else {
                    panic!("{next:?}")
                };
                assert!(*wait <= policy.ceiling(n));
            }
        }
    }

    #[test]
    fn a_permanent_error_is_never_retried() {
        let policy = RetryPolicy::default();
        let classes = [Class::Transient, Class::Permanent, Class::Permanent];
        let nexts = run(&policy, Attempts::FRESH, &classes);
        assert_eq!(end(&nexts), (2, Next::DeadLetter(GivenUp::Permanent)));
    }

    #[test]
    fn panics_have_a_limit_of_their_own_within_the_attempts() {
        use Class::{Panic, Transient};
        let policy = RetryPolicy::default();
        let panicked = Next::DeadLetter(GivenUp::Panicked);
        let nexts = run(&policy, Attempts::FRESH, &[Panic; 9]);
        assert_eq!(end(&nexts), (3, panicked));
        let mixed = [Panic, Transient, Panic, Transient, Panic];
        assert_eq!(end(&run(&policy, Attempts::FRESH, &mixed)), (5, panicked));
        let mixed = [Panic, Transient, Transient, Panic, Transient, Panic];
        let exhausted = Next::DeadLetter(GivenUp::Exhausted);
        assert_eq!(end(&run(&policy, Attempts::FRESH, &mixed)), (5, exhausted));
    }

    #[test]
    fn rate_limits_cost_time_and_no_attempt() {
        let policy = RetryPolicy::default();
        let minute = Class::RateLimited(Duration::from_secs(60));
        let nexts = run(&policy, Attempts::FRESH, &[minute; 40]);
        assert_eq!(end(&nexts), (16, Next::DeadLetter(GivenUp::RateLimited)));
        assert_eq!(nexts[0], Next::Retry(Duration::from_secs(60)));

        let mut attempts = Attempts::FRESH;
        let mut rng = Rng::with_seed(3);
        let _ = attempts.after(minute, &policy, &mut rng);
        assert_eq!(attempts.number(), 1);
        let _ = attempts.after(Class::Transient, &policy, &mut rng);
        assert_eq!(attempts.number(), 2);

        let once = run(&RetryPolicy::none(), Attempts::FRESH, &[minute]);
        assert_eq!(once, [Next::DeadLetter(GivenUp::RateLimited)]);
        let forever = run(
            &policy,
            Attempts::FRESH,
            &[Class::RateLimited(Duration::MAX)],
        );
        assert_eq!(forever, [Next::DeadLetter(GivenUp::RateLimited)]);
    }

    #[test]
    fn a_rate_limit_of_zero_neither_spins_nor_lasts_for_ever() {
        let policy = RetryPolicy::default();
        let nexts = run(
            &policy,
            Attempts::FRESH,
            &[Class::RateLimited(Duration::ZERO); 10_000],
        );
        assert_eq!(nexts[0], Next::Retry(policy.base));
        assert_eq!(end(&nexts), (9_001, Next::DeadLetter(GivenUp::RateLimited)));
    }

    #[test]
    fn a_prior_count_is_clamped_and_never_adds_attempts() {
        let policy = RetryPolicy::default();
        for (prior, left) in [
            (0, 5),
            (1, 4),
            (4, 1),
            (5, 1),
            (1_000_000, 1),
            (u32::MAX, 1),
        ] {
            let attempts = Attempts::resumed(prior, &policy);
            assert_eq!(attempts.number(), prior.min(4) + 1);
            let nexts = run(&policy, attempts, &[Class::Transient; 9]);
            assert_eq!(
                end(&nexts),
                (left, Next::DeadLetter(GivenUp::Exhausted)),
                "{prior}"
            );
        }
        assert_eq!(
            Attempts::resumed(u32::MAX, &RetryPolicy::none()).number(),
            1
        );
    }

    #[test]
    fn only_what_speaks_about_the_dependency_counts_towards_the_pause() {
        use GivenUp::{Exhausted, Panicked, Permanent, RateLimited, TimedOut};
        let all = [Exhausted, Panicked, TimedOut, RateLimited, Permanent];
        let counted: Vec<_> = all
            .into_iter()
            .filter(|why| why.counts_towards_pause())
            .collect();
        assert_eq!(counted, [Exhausted, Panicked, TimedOut]);
        let mut words: Vec<_> = all.iter().map(|why| why.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all.len());
    }
}
