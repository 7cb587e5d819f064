use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::duration;

/// How many event ids a group remembers, and for how long.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `capacity` | 100,000 | ids remembered at most |
/// | `window` | 10 min | how long an id is remembered after its handler was done |
///
/// Within both limits nothing is forgotten. When more than `capacity` ids are done within one
/// `window` the oldest go first; the bus warns about that once and counts it. A remembered id
/// takes under 48 bytes, and only ids that were seen take any.
///
/// The memory is this process's and best effort (X5): it stops the common duplicates, those of a
/// redelivery or a repeated publish, and is empty after a restart. For effects in a database that
/// must not repeat there is the inbox.
///
/// ```
/// use std::time::Duration;
/// use tidings::DedupPolicy;
///
/// let long = DedupPolicy::default().capacity(1_000_000).window(Duration::from_secs(3_600));
/// assert!(!long.is_off());
/// assert!(DedupPolicy::off().is_off());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupPolicy {
    pub(crate) enabled: bool,
    pub(crate) capacity: usize,
    #[serde(with = "duration")]
    pub(crate) window: Duration,
}

impl Default for DedupPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            capacity: 100_000,
            window: Duration::from_secs(600),
        }
    }
}

impl DedupPolicy {
    /// Remembers nothing: every duplicate is handled again.
    #[must_use]
    pub fn off() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// Whether it remembers nothing.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.enabled
    }

    /// How many ids are remembered at most: 1 to 1,000,000,000.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How long an id is remembered after its handler was done, by processing time. At least
    /// 1 ms.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Every setting that cannot work, each with its value and the fix (misuse 15).
    pub(crate) fn check(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        if self.capacity == 0 {
            wrong.push(
                "dedup capacity is 0: set at least 1, or DedupPolicy::off() to remember nothing"
                    .to_owned(),
            );
        }
        if self.capacity > MOST {
            wrong.push(format!(
                "dedup capacity is {}: set at most {MOST}, which takes some 47 GB",
                self.capacity
            ));
        }
        if self.window < Duration::from_millis(1) {
            wrong.push(format!(
                "dedup window is {}: set at least 1ms, or DedupPolicy::off() to remember nothing",
                duration::write(self.window)
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Whether an id outlives everything that may bring its event again (X4, misuse 17): the
    /// error holds both numbers.
    pub(crate) fn check_covers(&self, horizon: Duration) -> Result<(), String> {
        if self.enabled && self.window < horizon {
            return Err(format!(
                "dedup window {} is shorter than the {} in which one delivery may be retried and \
                 come again: raise the window or shorten the retries",
                duration::write(self.window),
                duration::write(horizon)
            ));
        }
        Ok(())
    }
}

/// Places are counted in 32 bits.
pub(super) const MOST: usize = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_all_named_at_once() {
        assert_eq!(DedupPolicy::default().check(), Ok(()));
        assert_eq!(DedupPolicy::off().check(), Ok(()));
        let wrong = DedupPolicy::default()
            .capacity(0)
            .window(Duration::ZERO)
            .check();
        let wrong = wrong.expect_err("both are wrong");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("capacity is 0"), "{wrong:?}");
        assert!(wrong[1].contains("window is 0s"), "{wrong:?}");
        let wrong = DedupPolicy::default()
            .capacity(MOST + 1)
            .check()
            .expect_err("too many");
        assert!(wrong[0].contains("1000000001"), "{wrong:?}");
    }

    #[test]
    fn a_window_shorter_than_the_horizon_is_refused_with_both_numbers() {
        let policy = DedupPolicy::default();
        assert_eq!(policy.check_covers(Duration::from_secs(600)), Ok(()));
        let error = policy
            .check_covers(Duration::from_secs(900))
            .expect_err("too short");
        assert!(
            error.contains("10min") && error.contains("15min"),
            "{error}"
        );
        assert_eq!(DedupPolicy::off().check_covers(Duration::MAX), Ok(()));
    }

    #[test]
    fn configuration_is_strict() {
        let policy: DedupPolicy = serde_json::from_str(r#"{"window":"1h"}"#).expect("valid");
        assert_eq!(
            policy,
            DedupPolicy::default().window(Duration::from_secs(3_600))
        );
        assert!(serde_json::from_str::<DedupPolicy>(r#"{"capasity":1}"#).is_err());
    }
}
