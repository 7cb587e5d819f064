//! When a failed attempt is tried again, and when it is given up (R1–R3).

mod aside;
mod attempts;

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::duration;

pub(crate) use aside::{Aside, put_aside};
pub(crate) use attempts::{Attempts, GivenUp, Next};

/// How often and how soon a failed attempt is repeated.
///
/// The wait before retry *n* is drawn evenly from zero to `base · factor^(n-1)`, at most `cap`
/// (exponential backoff with full jitter: handlers that failed together do not return together).
/// The draw never lengthens a wait past the cap.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `attempts` | 5 | attempts per delivery, the first included |
/// | `base` | 100 ms | longest wait before the first retry |
/// | `cap` | 30 s | longest wait before any retry |
/// | `factor` | 2 | growth from one retry to the next |
/// | `panics` | 3 | how many of the attempts may panic |
/// | `rate_limited_total` | 15 min | waits asked for by `rate_limited` errors, added up |
///
/// Transient errors, timeouts and panics use up attempts. A `rate_limited` error waits as long as
/// it says and uses up none, until those waits would pass `rate_limited_total`. Permanent
/// errors are never retried. While an event waits its key waits with it.
///
/// An event that was delivered before, because a process ended with it in its hands, has used up
/// one attempt for each time, but is tried once more at least; after 100 deliveries beyond
/// `attempts` it is dead-lettered as `crash_loop` without being tried.
///
/// ```
/// use std::time::Duration;
/// use tidings::RetryPolicy;
///
/// let patient = RetryPolicy::exponential()
///     .attempts(8)
///     .base(Duration::from_millis(500))
///     .cap(Duration::from_secs(60));
/// assert_ne!(patient, RetryPolicy::default());
/// assert_eq!(RetryPolicy::exponential(), RetryPolicy::default());
/// ```
///
/// In a configuration file durations carry their unit, and a misspelt key is an error:
///
/// ```
/// # use tidings::RetryPolicy;
/// let policy: RetryPolicy = serde_json::from_str(r#"{ "attempts": 8, "base": "500ms" }"#)?;
/// assert_eq!(policy, RetryPolicy::exponential().attempts(8).base(std::time::Duration::from_millis(500)));
/// assert!(serde_json::from_str::<RetryPolicy>(r#"{ "attemps": 8 }"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    pub(crate) attempts: u32,
    #[serde(with = "duration")]
    pub(crate) base: Duration,
    #[serde(with = "duration")]
    pub(crate) cap: Duration,
    pub(crate) factor: f64,
    pub(crate) panics: u32,
    #[serde(with = "duration")]
    pub(crate) rate_limited_total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            factor: 2.0,
            panics: 3,
            rate_limited_total: Duration::from_secs(15 * 60),
        }
    }
}

impl RetryPolicy {
    /// The default: five attempts, 100 ms doubling up to 30 s.
    #[must_use]
    pub fn exponential() -> Self {
        Self::default()
    }

    /// One attempt; whatever fails is dead-lettered at once, rate limits included.
    #[must_use]
    pub fn none() -> Self {
        Self {
            attempts: 1,
            rate_limited_total: Duration::ZERO,
            ..Self::default()
        }
    }

    /// Attempts per delivery, the first included. At least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The longest wait before the first retry. At least 1 ms and at most the cap.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The longest wait before any retry.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How many times longer each retry may wait than the one before. At least 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// After how many panics a delivery is given up, whatever attempts are left. At least 1.
    #[must_use]
    pub fn panics(mut self, panics: u32) -> Self {
        self.panics = panics;
        self
    }

    /// How long `rate_limited` errors may make one delivery wait in total. Zero gives up at the
    /// first.
    #[must_use]
    pub fn rate_limited_total(mut self, total: Duration) -> Self {
        self.rate_limited_total = total;
        self
    }

    /// Every setting that cannot work, each with its value and the fix (misuse 15).
    pub(crate) fn check(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        if self.attempts == 0 {
            wrong.push(
                "retry attempts is 0: set at least 1, or RetryPolicy::none() for a single attempt"
                    .to_owned(),
            );
        }
        if self.base < SHORTEST_WAIT {
            wrong.push(format!(
                "retry base is {}: set at least 1ms, or RetryPolicy::none() for no retry",
                duration::write(self.base)
            ));
        }
        if self.base > self.cap {
            wrong.push(format!(
                "retry base {} is longer than retry cap {}: raise the cap or shorten the base",
                duration::write(self.base),
                duration::write(self.cap)
            ));
        }
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            wrong.push(format!(
                "retry factor is {}: set a finite number of at least 1",
                self.factor
            ));
        }
        if self.panics == 0 {
            wrong.push(
                "retry panics is 0: set at least 1, which gives up at the first panic".to_owned(),
            );
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The wait before retry `number`, from 1: drawn evenly from zero to [`ceiling`](Self::ceiling).
    pub(crate) fn delay(&self, number: u32, rng: &mut Rng) -> Duration {
        Duration::from_nanos(rng.u64(..=nanos(self.ceiling(number))))
    }

    /// The longest wait before retry `number`, from 1. Total for every number and setting.
    pub(crate) fn ceiling(&self, number: u32) -> Duration {
        let doublings = i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX);
        // Too large, infinite and NaN all end at the cap.
        Duration::try_from_secs_f64(self.base.as_secs_f64() * self.factor.powi(doublings))
            .map_or(self.cap, |wait| wait.min(self.cap))
    }

    /// The longest that the backoffs of one delivery take together, rate limits and the attempts
    /// themselves not counted (misuse 17, X4).
    pub(crate) fn longest_backoff(&self) -> Duration {
        let mut total = Duration::ZERO;
        for number in 1..self.attempts {
            let wait = self.ceiling(number);
            if wait == self.cap {
                // All further ones are as long.
                let rest = self.attempts - number;
                return total.saturating_add(wait.saturating_mul(rest));
            }
            total = total.saturating_add(wait);
            if self.factor <= 1.0 {
                return wait.saturating_mul(self.attempts - 1);
            }
        }
        total
    }
}

/// No wait that was asked for is shorter, so that no policy and no handler can make a loop spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_overflow() {
        let policy = RetryPolicy::default();
        let ceilings: Vec<u128> = (1..=11).map(|n| policy.ceiling(n).as_millis()).collect();
        assert_eq!(
            ceilings,
            [
                100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000
            ]
        );
        for number in [0, 64, 1_024, u32::MAX - 1, u32::MAX] {
            assert!(policy.ceiling(number) <= policy.cap, "{number}");
        }
        let endless = RetryPolicy::default()
            .cap(Duration::MAX)
            .base(Duration::MAX);
        let mut rng = Rng::with_seed(1);
        for number in [1, 2, u32::MAX] {
            assert_eq!(endless.ceiling(number), Duration::MAX);
            let _ = endless.delay(number, &mut rng);
        }
        assert_eq!(policy.clone().factor(f64::NAN).ceiling(3), policy.cap);
    }

    #[test]
    fn jitter_fills_the_whole_range_and_never_passes_the_cap() {
        let policy = RetryPolicy::default();
        let mut rng = Rng::with_seed(7);
        for number in [1, 4, 10, 40] {
            let ceiling = policy.ceiling(number);
            let mut tenths = [0_u32; 10];
            for _ in 0..10_000 {
                let wait = policy.delay(number, &mut rng);
                assert!(wait <= ceiling, "{wait:?} after {number}");
                let tenth = wait.as_nanos() * 10 / (ceiling.as_nanos() + 1);
                tenths[usize::try_from(tenth).expect("below 10")] += 1;
            }
            assert!(
                tenths.iter().all(|&n| (850..1_150).contains(&n)),
                "{number}: {tenths:?}"
            );
        }
    }

    #[test]
    fn settings_that_cannot_work_are_all_named_at_once() {
        assert_eq!(RetryPolicy::default().check(), Ok(()));
        assert_eq!(RetryPolicy::none().check(), Ok(()));
        let wrong = RetryPolicy::exponential()
            .attempts(0)
            .base(Duration::from_secs(60))
            .factor(f64::NAN)
            .panics(0)
            .check()
            .expect_err("all of it is wrong");
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("attempts is 0"), "{wrong:?}");
        assert!(
            wrong[1].contains("base 1min is longer than retry cap 30s"),
            "{wrong:?}"
        );
        assert!(wrong[2].contains("factor is NaN"), "{wrong:?}");
        assert!(wrong[3].contains("panics is 0"), "{wrong:?}");
        let zero = RetryPolicy::exponential()
            .base(Duration::ZERO)
            .cap(Duration::ZERO)
            .check();
        assert!(zero.expect_err("no wait")[0].contains("base is 0s"));
        for factor in [0.5, -1.0, f64::INFINITY] {
            assert!(
                RetryPolicy::exponential().factor(factor).check().is_err(),
                "{factor}"
            );
        }
    }

    #[test]
    fn configuration_is_readable_and_strict() {
        let text = serde_json::to_string(&RetryPolicy::default()).expect("plain values");
        assert_eq!(
            text,
            r#"{"attempts":5,"base":"100ms","cap":"30s","factor":2.0,"panics":3,"rate_limited_total":"15min"}"#
        );
        let error = serde_json::from_str::<RetryPolicy>(r#"{"atempts":3}"#).expect_err("misspelt");
        assert!(error.to_string().contains("atempts"), "{error}");
        let error = serde_json::from_str::<RetryPolicy>(r#"{"base":100}"#).expect_err("no unit");
        assert!(error.to_string().contains("such as"), "{error}");
    }

    #[test]
    fn the_longest_backoff_is_the_sum_of_the_ceilings() {
        let sum = |policy: &RetryPolicy| -> Duration {
            (1..policy.attempts).map(|n| policy.ceiling(n)).sum()
        };
        for policy in [
            RetryPolicy::default(),
            RetryPolicy::none(),
            RetryPolicy::default().attempts(40),
            RetryPolicy::default().attempts(7).factor(1.0),
        ] {
            assert_eq!(policy.longest_backoff(), sum(&policy), "{policy:?}");
        }
        let endless = RetryPolicy::default().attempts(u32::MAX).cap(Duration::MAX);
        assert_eq!(endless.longest_backoff(), Duration::MAX);
    }
}
