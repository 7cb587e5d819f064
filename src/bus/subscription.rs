use std::fmt;
use std::sync::{Arc, Weak};

use super::error::WouldDeadlock;
use super::live::LiveGroup;
use super::slot::Slot;
use super::{Bus, Inner};
use crate::Event;
use crate::emit::running_handler;

/// What a registration gives back. Dropping it changes nothing; [`off`](Self::off) ends the
/// registration.
pub struct Subscription {
    bus: Weak<Inner>,
    kind: Kind,
    off_on_drop: bool,
}

enum Kind {
    Handler {
        group: Arc<LiveGroup>,
        subscription: u64,
    },
    Listener {
        slot: Arc<dyn Detach>,
        subscription: u64,
    },
    Tap {
        subscription: u64,
    },
    /// It was refused: `start` and every emit of its type say why.
    Refused,
}

/// A slot whose type is not known, for removing a listener.
pub(super) trait Detach: Send + Sync {
    fn detach(&self, subscription: u64);
}

impl<E: Event> Detach for Slot<E> {
    fn detach(&self, subscription: u64) {
        self.remove_listener(subscription);
    }
}

impl Subscription {
    pub(super) fn handler(bus: &Bus, group: Arc<LiveGroup>, subscription: u64) -> Self {
        Self::new(
            bus,
            Kind::Handler {
                group,
                subscription,
            },
        )
    }

    pub(super) fn listener(bus: &Bus, slot: Arc<dyn Detach>, subscription: u64) -> Self {
        Self::new(bus, Kind::Listener { slot, subscription })
    }

    pub(super) fn tap(bus: &Bus, subscription: u64) -> Self {
        Self::new(bus, Kind::Tap { subscription })
    }

    pub(super) fn refused(bus: &Bus) -> Self {
        Self::new(bus, Kind::Refused)
    }

    fn new(bus: &Bus, kind: Kind) -> Self {
        Self {
            bus: Arc::downgrade(&bus.inner),
            kind,
            off_on_drop: false,
        }
    }

    /// Ends the registration and waits for calls in flight.
    ///
    /// From its first poll on no new call begins: what waits in the group's queue or in backoff
    /// for this handler alone is skipped and counted. A call of a listener that runs on another
    /// thread may end after this: the emit path takes no lock to be waited for.
    ///
    /// # Errors
    ///
    /// `WouldDeadlock` inside the very handler that it would wait for; the registration has ended
    /// all the same.
    ///
    /// # Cancel safety
    ///
    /// Once polled the registration has ended; dropping the future only stops the waiting.
    pub async fn off(mut self) -> Result<(), WouldDeadlock> {
        self.off_on_drop = false;
        self.end();
        let Kind::Handler {
            group,
            subscription,
        } = &self.kind
        else {
            return Ok(());
        };
        if running_handler().is_some_and(|(_, running, _)| running == *subscription) {
            return Err(WouldDeadlock {
                what: "itself to end",
            });
        }
        group.quiesce(*subscription).await;
        if let Some(replay) = self.replay_of(group) {
            replay.quiesce(*subscription).await;
        }
        Ok(())
    }

    /// Makes dropping this value end the registration, without waiting for calls in flight.
    pub fn off_on_drop(mut self) -> Self {
        self.off_on_drop = true;
        self
    }

    /// Whether the registration was accepted; if not, [`Bus::start`] says why.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        !matches!(self.kind, Kind::Refused)
    }

    /// The replay of a group that runs, if one does.
    fn replay_of(&self, group: &LiveGroup) -> Option<Arc<LiveGroup>> {
        let bus = self.bus.upgrade()?;
        bus.registry.find_replay(&group.core.name)
    }

    fn end(&self) {
        match &self.kind {
            Kind::Handler {
                group,
                subscription,
            } => {
                group.remove(*subscription);
                if let Some(replay) = self.replay_of(group) {
                    replay.remove(*subscription);
                }
            }
            Kind::Listener { slot, subscription } => slot.detach(*subscription),
            Kind::Tap { subscription } => {
                if let Some(bus) = self.bus.upgrade() {
                    bus.registry.remove_tap(*subscription);
                }
            }
            Kind::Refused => {}
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.off_on_drop {
            self.end();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, subscription) = match &self.kind {
            Kind::Handler { subscription, .. } => ("handler", *subscription),
            Kind::Listener { subscription, .. } => ("listener", *subscription),
            Kind::Tap { subscription } => ("tap", *subscription),
            Kind::Refused => ("refused", 0),
        };
        f.debug_struct("Subscription")
            .field("kind", &kind)
            .field("number", &subscription)
            .finish_non_exhaustive()
    }
}
