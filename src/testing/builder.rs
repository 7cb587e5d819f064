use std::fmt;

use tidings_memory::Memory;
use tidings_transport::Name;

use super::bus::TestBus;
use super::recorder::Recorder;
use super::time;
use crate::clock::VirtualClock;
use crate::{BuildError, Bus, BusBuilder};

/// Settings of a [`TestBus`]: see [`TestBus::builder`].
///
/// | setting | default |
/// |---|---|
/// | [`memory`](Self::memory) | [`Memory::new`] with forced encoding |
/// | [`keep`](Self::keep) | 100,000 published and as many handled events |
/// | [`configure`](Self::configure) | a [`BusBuilder`]'s defaults, with a virtual clock |
#[must_use = "a builder does nothing until `build` is awaited"]
pub struct TestBusBuilder {
    service: Name,
    memory: Memory,
    keep: usize,
    configure: Vec<Box<dyn FnOnce(BusBuilder) -> BusBuilder + Send>>,
}

impl TestBusBuilder {
    pub(super) fn new(service: Name) -> Self {
        Self {
            service,
            memory: Memory::new().encoded(true),
            keep: 100_000,
            configure: Vec::new(),
        }
    }

    /// Changes the settings of the bus, with everything that a [`BusBuilder`] has. What is set
    /// here wins over the kit's own settings, clock and transport included.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidings::testing::TestBus;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = TestBus::builder("order-service")
    ///     .configure(|bus| bus.deadline(Duration::from_secs(2)).concurrency(1))
    ///     .build()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn configure(
        mut self,
        change: impl FnOnce(BusBuilder) -> BusBuilder + Send + 'static,
    ) -> Self {
        self.configure.push(Box::new(change));
        self
    }

    /// Changes the settings of the memory transport, such as how many dead letters a group keeps.
    /// To let two services talk, give both a clone of one store:
    ///
    /// ```
    /// # use tidings::memory::Memory;
    /// # use tidings::testing::TestBus;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Memory::new().encoded(true);
    /// let (here, there) = (store.clone(), store);
    /// let orders = TestBus::builder("order-service").memory(|_| here).build().await?;
    /// let billing = TestBus::builder("billing-service").memory(|_| there).build().await?;
    /// # Ok(()) }
    /// ```
    pub fn memory(mut self, change: impl FnOnce(Memory) -> Memory) -> Self {
        self.memory = change(self.memory);
        self
    }

    /// Moves events as they are, as the memory transport does in production. Without this each one
    /// is encoded at its publish and decoded for its handler, as on a broker.
    pub fn without_encoding(self) -> Self {
        self.memory(|memory| memory.encoded(false))
    }

    /// How many published, and how many handled events are kept for the test. When more come, the
    /// next look at them panics. Default 100,000.
    pub fn keep(mut self, events: usize) -> Self {
        self.keep = events;
        self
    }

    /// Stops the clock and builds the bus.
    ///
    /// # Errors
    ///
    /// As [`BusBuilder::build`].
    ///
    /// # Panics
    ///
    /// On a multi-thread runtime, whose clock cannot be stopped, and outside of any.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future builds nothing; the clock may stand still.
    pub async fn build(self) -> Result<TestBus, BuildError> {
        time::pause().await;
        let recorder = Recorder::new(self.keep);
        let settings = Bus::builder(self.service)
            .memory(self.memory)
            .clock(VirtualClock::new())
            .recorder(recorder.clone());
        let settings = self
            .configure
            .into_iter()
            .fold(settings, |bus, change| change(bus));
        Ok(TestBus::new_with(settings.build().await?, recorder))
    }
}

impl fmt::Debug for TestBusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBusBuilder")
            .field("service", &self.service)
            .field("memory", &self.memory)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}
