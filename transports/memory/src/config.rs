use std::time::Duration;

use tidings_transport::TransportError;

use crate::{Memory, error};

/// The settings of a [`Memory`], with their units and defaults.
///
/// ```
/// use tidings_memory::{Memory, MemoryConfig};
///
/// let mut config = MemoryConfig::default();
/// assert_eq!(config.queue, 1024);
/// config.queue = 0;
/// let error = Memory::with_config(config).unwrap_err();
/// assert!(error.to_string().contains("queue is 0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Messages that may wait in one group's queue, where its topology names no other number.
    /// Default 1,024.
    pub queue: usize,
    /// Messages by which a group's own handlers may overrun its full queue; 0 forbids it.
    /// Default 1,024.
    pub spill: usize,
    /// Messages that one dead-letter topic keeps. Default 10,000.
    pub dead_letters: usize,
    /// How long a publish waits for room. Default 30 s.
    pub publish_deadline: Duration,
    /// Bytes of one body, where it is or becomes bytes. Default 1 MiB.
    pub max_payload: usize,
    /// Bytes of all headers of one message, names and values, the bus's own not counted; also the
    /// longest key. Default 16 KiB.
    pub max_headers: usize,
    /// Whether every message is encoded at its publish and delivered as bytes, as on a broker.
    /// Default false.
    pub encoded: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            queue: 1024,
            spill: 1024,
            dead_letters: 10_000,
            publish_deadline: Duration::from_secs(30),
            max_payload: 1024 * 1024,
            max_headers: 16 * 1024,
            encoded: false,
        }
    }
}

impl MemoryConfig {
    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// `Config`, naming every setting that is zero and must not be.
    pub fn check(&self) -> Result<(), TransportError> {
        let wrong: Vec<&str> = [
            (self.queue == 0, "queue is 0: use at least 1 message"),
            (
                self.dead_letters == 0,
                "dead_letters is 0: use at least 1 message",
            ),
            (
                self.publish_deadline.is_zero(),
                "publish_deadline is 0: use at least 1 ms",
            ),
            (
                self.max_payload == 0,
                "max_payload is 0: use at least 1 byte",
            ),
            (
                self.max_headers == 0,
                "max_headers is 0: use at least 1 byte",
            ),
        ]
        .into_iter()
        .filter_map(|(wrong, text)| wrong.then_some(text))
        .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(error::config(format!(
                "memory transport: {}",
                wrong.join("; ")
            )))
        }
    }
}

/// Settings. Each returns a new transport with an empty store of its own, so they come before the
/// first clone and the first use. A wrong value is reported by [`Memory::check`] and by the first
/// call that needs the store, never by a panic.
impl Memory {
    /// Messages that may wait in one group's queue. Default 1,024.
    #[must_use]
    pub fn queue(self, messages: usize) -> Self {
        self.set(|config| config.queue = messages)
    }

    /// Messages by which a group's own handlers may overrun its full queue. Default 1,024.
    #[must_use]
    pub fn spill(self, messages: usize) -> Self {
        self.set(|config| config.spill = messages)
    }

    /// Messages that one dead-letter topic keeps. Default 10,000.
    #[must_use]
    pub fn dead_letters(self, messages: usize) -> Self {
        self.set(|config| config.dead_letters = messages)
    }

    /// How long a publish waits for room. Default 30 s.
    #[must_use]
    pub fn publish_deadline(self, deadline: Duration) -> Self {
        self.set(|config| config.publish_deadline = deadline)
    }

    /// Bytes of one body. Default 1 MiB.
    #[must_use]
    pub fn max_payload(self, bytes: usize) -> Self {
        self.set(|config| config.max_payload = bytes)
    }

    /// Bytes of all headers of one message, and of its key. Default 16 KiB.
    #[must_use]
    pub fn max_headers(self, bytes: usize) -> Self {
        self.set(|config| config.max_headers = bytes)
    }

    /// Whether every message is encoded at its publish and delivered as bytes, as on a broker: for
    /// tests that must find what only a broker would. Default false.
    #[must_use]
    pub fn encoded(self, encoded: bool) -> Self {
        self.set(|config| config.encoded = encoded)
    }

    fn set(self, change: impl FnOnce(&mut MemoryConfig)) -> Self {
        let mut config = self.config().clone();
        change(&mut config);
        Self::unchecked(config)
    }
}
