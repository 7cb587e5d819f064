use std::fmt;
use std::fmt::Write as _;
use std::ops::Deref;
use std::time::Duration;

use tidings_transport::{Envelope, EventId, Name, Origin, PublishError, Receipt, Timestamp};

use super::builder::TestBusBuilder;
use super::handled::Handled;
use super::published::Published;
use super::raw::Raw;
use super::recorder::Recorder;
use super::time;
use crate::{Bus, DeadLetter, Event};

/// How long, in virtual time, [`TestBus::settled`] waits.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);

/// A real [`Bus`] for tests: the production pipeline over the memory transport, on a virtual
/// clock, with forced encoding and a record of what it published and handled.
///
/// It dereferences to its [`Bus`], so that everything a bus can do is here too; code under test
/// gets [`bus`](Self::bus). Cheap to clone: all clones are one bus.
///
/// See the [module](super) for the whole picture.
#[derive(Clone)]
pub struct TestBus {
    bus: Bus,
    recorder: Recorder,
}

impl TestBus {
    /// A test bus with the default settings for a service of this name.
    ///
    /// # Panics
    ///
    /// As [`TestBusBuilder::build`], and on a name that is not allowed.
    ///
    /// # Cancel safety
    ///
    /// As [`TestBusBuilder::build`].
    pub async fn new(service: impl Into<Name>) -> Self {
        match Self::builder(service).build().await {
            Ok(bus) => bus,
            Err(error) => panic!("no test bus: {error}"),
        }
    }

    /// A test bus with settings of its own.
    pub fn builder(service: impl Into<Name>) -> TestBusBuilder {
        TestBusBuilder::new(service.into())
    }

    pub(super) fn new_with(bus: Bus, recorder: Recorder) -> Self {
        Self { bus, recorder }
    }

    /// The bus itself, for the code under test.
    #[must_use]
    pub fn bus(&self) -> Bus {
        self.bus.clone()
    }

    /// Every event of this type that was published through this bus, by handlers too, in the order
    /// of the publishes. One whose publish failed, or was dropped before its outcome was known, is
    /// not among them; neither is what was [injected](Self::inject).
    ///
    /// # Panics
    ///
    /// When more events were published than the bus [keeps](TestBusBuilder::keep).
    #[must_use]
    pub fn published<E: Event>(&self) -> Vec<Published<E>> {
        self.recorder.published()
    }

    /// What every handler did with every event of this type, in the order in which they ended.
    /// What has not ended is not among them.
    ///
    /// # Panics
    ///
    /// When more events were handled than the bus [keeps](TestBusBuilder::keep).
    #[must_use]
    pub fn handled<E: Event>(&self) -> Vec<Handled> {
        let mut handled = self.all_handled();
        handled.retain(Handled::is::<E>);
        handled
    }

    /// As [`handled`](Self::handled), of all types, and with the events whose type could not be
    /// read.
    ///
    /// # Panics
    ///
    /// As [`handled`](Self::handled).
    #[must_use]
    pub fn all_handled(&self) -> Vec<Handled> {
        self.recorder.all_handled()
    }

    /// Forgets what was published and handled so far, between two phases of a test. Dead letters
    /// stay.
    pub fn forget(&self) {
        self.recorder.forget();
    }

    /// A group's dead letters, oldest first; its name as for [`Bus::dead_letters`].
    ///
    /// # Panics
    ///
    /// When the group has no handler or keeps no dead letters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: reading removes nothing.
    pub async fn dead_letters(&self, group: &str) -> Vec<DeadLetter> {
        match self.bus.dead_letters(group).list().await {
            Ok(letters) => letters,
            Err(error) => panic!(
                "no dead letters of {group:?}: {error}{}",
                self.groups().await
            ),
        }
    }

    /// Removes a group's dead letters, which makes room for others, and gives them back.
    ///
    /// # Panics
    ///
    /// As [`dead_letters`](Self::dead_letters).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: some may be removed and not given back.
    pub async fn take_dead_letters(&self, group: &str) -> Vec<DeadLetter> {
        match self.bus.dead_letters(group).take().await {
            Ok(letters) => letters,
            Err(error) => panic!(
                "no dead letters of {group:?}: {error}{}",
                self.groups().await
            ),
        }
    }

    /// Waits until nothing is left to do, as [`Bus::settled`]: cascades, backoff and delays
    /// included, all in virtual time.
    ///
    /// # Panics
    ///
    /// After 24 hours of virtual time, naming the groups that still have events: a group whose
    /// dependency never heals, or whose dead letters are full, never settles. Use
    /// [`advance`](Self::advance) to look at it. Also inside a handler, which it would wait for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self) {
        match tokio::time::timeout(PATIENCE, self.bus.settled()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => panic!(
                "the bus has not settled within 24 h of virtual time{}",
                self.groups().await
            ),
        }
    }

    /// Lets this much virtual time pass, timer by timer and each in its turn, and then lets
    /// everything run that is due. It takes no real time. Timers have a resolution of 1 ms.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; time that has passed has passed.
    pub async fn advance(&self, by: Duration) {
        time::advance(by).await;
    }

    /// The time on the bus's clock: 2026-01-01T00:00:00Z when it was built.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.bus.core().clock.now()
    }

    /// Hands a record to the transport as it is, past every check of the bus: what another program
    /// may have written.
    ///
    /// # Errors
    ///
    /// The transport's own.
    ///
    /// # Cancel safety
    ///
    /// As a publish: dropped before its end, the outcome is Unknown.
    pub async fn inject(&self, raw: Raw) -> Result<Receipt, PublishError> {
        self.bus
            .core()
            .transport
            .publish(raw.into_message(), Origin::default())
            .await
    }

    /// The record that an emit of this event would publish, with an id of its own: to be changed
    /// and [injected](Self::inject), once or twice.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::Event;
    /// # use tidings::testing::TestBus;
    /// # #[derive(Debug, Clone, Serialize, Deserialize, Event)]
    /// # #[event(name = "order.placed", version = 1)]
    /// # struct OrderPlaced { order_id: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = TestBus::new("order-service").await;
    /// bus.on(async |_: OrderPlaced| ());
    /// let order = OrderPlaced { order_id: "ord-1".into() };
    /// bus.inject(bus.encode(order).field("eventversion", "9")).await?;
    /// bus.settled().await;
    /// assert_eq!(bus.dead_letters("order-service").await[0].reason(), "future_version");
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// When the event has no encoding.
    pub fn encode<E: Event>(&self, event: E) -> Raw {
        let slot = self.bus.slot::<E>();
        let kind = slot.kind();
        let id = event
            .natural_id()
            .map_or_else(|| EventId::fresh(self.now()), EventId::from);
        let envelope = Envelope::new(id, kind.name.clone(), E::VERSION, kind.source.clone());
        match kind.encoder.encode(&event, &envelope) {
            Ok(encoded) => {
                let raw = Raw::encoded(kind.topic.clone(), encoded);
                match event.key() {
                    Some(key) => raw.key(key),
                    None => raw,
                }
            }
            Err(error) => panic!("{} has no encoding: {error}", E::NAME),
        }
    }

    /// How the groups stand, for a panic's message.
    async fn groups(&self) -> String {
        self.bus
            .standings()
            .await
            .into_iter()
            .fold(String::new(), |mut text, standing| {
                let _ = write!(text, "\n  {standing}");
                text
            })
    }
}

impl Deref for TestBus {
    type Target = Bus;

    fn deref(&self) -> &Bus {
        &self.bus
    }
}

impl fmt::Debug for TestBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBus")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}
