use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::duration;

/// When a group stops taking events because all of them fail, and how it finds out that it may go
/// on.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `finals` | 20 | deliveries that must have ended within the window |
/// | `window` | 30 s | how far back it looks |
/// | `failed_percent` | 90 | how many of them must have failed |
/// | `first_probe` | 1 s | how long a pause lasts before one event is tried |
/// | `longest_probe` | 30 s | the longest wait for the next try; each failed one doubles it |
///
/// Only exhausted transient failures, panics and timeouts count as failed; permanent and decode
/// errors and rate limits count as neither failed nor handled. While a group is paused nothing of
/// it is dead-lettered for having used up its attempts: it stays in its lane, and the first
/// success resumes the group.
///
/// ```
/// use std::time::Duration;
/// use tidings::PausePolicy;
///
/// let nervous = PausePolicy::default().finals(5).window(Duration::from_secs(10));
/// assert!(!nervous.is_off());
/// assert!(PausePolicy::off().is_off());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PausePolicy {
    pub(crate) enabled: bool,
    pub(crate) finals: u32,
    #[serde(with = "duration")]
    pub(crate) window: Duration,
    pub(crate) failed_percent: u32,
    #[serde(with = "duration")]
    pub(crate) first_probe: Duration,
    #[serde(with = "duration")]
    pub(crate) longest_probe: Duration,
}

impl Default for PausePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            finals: 20,
            window: Duration::from_secs(30),
            failed_percent: 90,
            first_probe: Duration::from_secs(1),
            longest_probe: Duration::from_secs(30),
        }
    }
}

impl PausePolicy {
    /// Never pauses: when everything fails, everything is dead-lettered.
    #[must_use]
    pub fn off() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// Whether it never pauses.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.enabled
    }

    /// How many deliveries must have ended within the window. At least 1.
    #[must_use]
    pub fn finals(mut self, finals: u32) -> Self {
        self.finals = finals;
        self
    }

    /// How far back it looks. At least 1 ms.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How many of a hundred deliveries must have failed: 1 to 100.
    #[must_use]
    pub fn failed_percent(mut self, percent: u32) -> Self {
        self.failed_percent = percent;
        self
    }

    /// How long a pause lasts before one event is tried. At least 1 ms.
    #[must_use]
    pub fn first_probe(mut self, wait: Duration) -> Self {
        self.first_probe = wait;
        self
    }

    /// The longest wait between two tries.
    #[must_use]
    pub fn longest_probe(mut self, wait: Duration) -> Self {
        self.longest_probe = wait;
        self
    }

    /// Every setting that cannot work, each with its value and the fix (misuse 15).
    pub(crate) fn check(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        if self.finals == 0 {
            wrong.push(
                "pause finals is 0: set at least 1, or PausePolicy::off() to never pause"
                    .to_owned(),
            );
        }
        if !(1..=100).contains(&self.failed_percent) {
            wrong.push(format!(
                "pause failed_percent is {}: set 1 to 100, or PausePolicy::off() to never pause",
                self.failed_percent
            ));
        }
        for (name, value) in [("window", self.window), ("first_probe", self.first_probe)] {
            if value < Duration::from_millis(1) {
                let value = duration::write(value);
                wrong.push(format!("pause {name} is {value}: set at least 1ms"));
            }
        }
        if self.first_probe > self.longest_probe {
            wrong.push(format!(
                "pause first_probe {} is longer than longest_probe {}: raise the latter or shorten the former",
                duration::write(self.first_probe),
                duration::write(self.longest_probe)
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_all_named_at_once() {
        assert_eq!(PausePolicy::default().check(), Ok(()));
        assert_eq!(PausePolicy::off().check(), Ok(()));
        let wrong = PausePolicy::default()
            .finals(0)
            .failed_percent(101)
            .window(Duration::ZERO)
            .first_probe(Duration::from_secs(60))
            .check()
            .expect_err("all of it is wrong");
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("finals is 0"), "{wrong:?}");
        assert!(wrong[1].contains("failed_percent is 101"), "{wrong:?}");
        assert!(wrong[2].contains("window is 0s"), "{wrong:?}");
        assert!(
            wrong[3].contains("first_probe 1min is longer than longest_probe 30s"),
            "{wrong:?}"
        );
        assert!(PausePolicy::default().failed_percent(0).check().is_err());
    }

    #[test]
    fn configuration_is_strict() {
        let policy: PausePolicy = serde_json::from_str(r#"{"window":"10s"}"#).expect("valid");
        assert_eq!(
            policy,
            PausePolicy::default().window(Duration::from_secs(10))
        );
        assert!(serde_json::from_str::<PausePolicy>(r#"{"windw":"10s"}"#).is_err());
    }
}
