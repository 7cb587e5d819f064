//! Where the messages of a topic go: an immutable snapshot, replaced when a subscription changes.

use std::sync::{Arc, MutexGuard, Weak};

use tidings_transport::{Groups, Message, Name, PublishError, Reason, Receipt};
use tokio::time::Instant;

use crate::browse::{Kept, Retained};
use crate::error;
use crate::group::{Admission, Group, State, inbound};
use crate::line::Topic;
use crate::sync::Wakers;

/// The groups of a topic, and what is kept of it.
pub(crate) struct Route {
    /// Sorted by id, so that locks are always taken in one order.
    pub(crate) groups: Box<[Arc<Group>]>,
    pub(crate) retained: Option<Arc<Retained>>,
    names: Groups,
}

/// Who offers a message, and when it is due.
#[derive(Clone, Copy)]
pub(crate) struct Offer<'a> {
    /// The group whose handler emits.
    pub(crate) origin: Option<&'a Name>,
    pub(crate) due: Option<Instant>,
    /// The topic to serve once there is room, if the offer would wait for it.
    pub(crate) waiter: Option<&'a Weak<Topic>>,
}

/// All groups took it, or none did. Who must be woken is told apart from it.
#[allow(
    clippy::large_enum_variant,
    reason = "boxing would cost an allocation per refusal"
)]
pub(crate) enum Offered {
    Done,
    Not(Obstacle, Message),
}

/// Why a message was not taken.
pub(crate) enum Obstacle {
    /// This group's queue is full.
    Full(Name),
    /// The emitting group's own queue is full, spill included.
    OwnFull(Name),
    /// The retained topic is full.
    RetainedFull,
    /// A retained topic shows at once what it keeps.
    RetainedDelay,
    /// A group was removed since this snapshot was made: look the topic up again.
    Stale,
}

impl Obstacle {
    pub(crate) fn into_error(self, topic: &Name) -> PublishError {
        match self {
            Self::Full(group) => error::full(&group, false),
            Self::OwnFull(group) => error::full(&group, true),
            Self::RetainedFull => error::full(topic, false),
            Self::RetainedDelay => error::not_published(Reason::Unsupported(format!(
                "topic {topic:?} is retained and cannot delay: publish without a delay"
            ))),
            Self::Stale => error::closed_publish(),
        }
    }
}

impl Route {
    pub(crate) fn new(mut groups: Vec<Arc<Group>>, retained: Option<Arc<Retained>>) -> Self {
        groups.sort_by_key(|group| group.id);
        let names = groups.iter().map(|group| group.name.clone()).collect();
        Self {
            groups: groups.into(),
            retained,
            names,
        }
    }

    pub(crate) fn has(&self, group: &Group) -> bool {
        self.groups.iter().any(|other| other.id == group.id)
    }

    /// How many would get a message.
    pub(crate) fn readers(&self) -> usize {
        self.groups.len() + usize::from(self.retained.is_some())
    }

    /// The receipt of everything published by this route; it shares the names.
    #[inline]
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt {
            groups: self.names.clone(),
            position: None,
        }
    }

    /// Whether the emitting group is one of the readers and has no room but its spill.
    pub(crate) fn is_own_full(&self, origin: Option<&Name>) -> bool {
        let Some(origin) = origin else { return false };
        let own = self.groups.iter().find(|group| group.name == *origin);
        own.is_some_and(|group| group.is_full())
    }

    /// Puts a message into every group's queue, or into none.
    #[inline(always)]
    pub(crate) fn offer(&self, message: Message, offer: Offer<'_>, wakers: &mut Wakers) -> Offered {
        match &*self.groups {
            [group] if self.retained.is_none() => offer_one(group, message, offer, wakers),
            _ => self.offer_all(message, offer, wakers),
        }
    }

    #[inline(never)]
    fn offer_all(&self, message: Message, offer: Offer<'_>, wakers: &mut Wakers) -> Offered {
        let mut states = Vec::with_capacity(self.groups.len());
        let mut obstacle = None;
        for group in &self.groups {
            let mut state = group.lock();
            match admission(group, &mut state, offer) {
                None => states.push(state),
                // It is the one obstacle that waiting cannot overcome, so look for it in all.
                Some(found @ (Obstacle::OwnFull(_) | Obstacle::Stale)) => {
                    return Offered::Not(found, message);
                }
                Some(found) if offer.origin.is_none() => return Offered::Not(found, message),
                Some(found) => obstacle = obstacle.or(Some(found)),
            }
        }
        if let Some(obstacle) = obstacle {
            return Offered::Not(obstacle, message);
        }
        let kept = match &self.retained {
            None => None,
            Some(_) if offer.due.is_some() => {
                return Offered::Not(Obstacle::RetainedDelay, message);
            }
            Some(retained) => match retained.room() {
                None => return Offered::Not(Obstacle::RetainedFull, message),
                room => room,
            },
        };
        fill(states, kept, message, offer.due, wakers);
        Offered::Done
    }
}

#[inline(always)]
fn offer_one(group: &Group, message: Message, offer: Offer<'_>, wakers: &mut Wakers) -> Offered {
    let mut state = group.lock();
    match admission(group, &mut state, offer) {
        None => {
            state.push(message, offer.due, wakers);
            Offered::Done
        }
        Some(obstacle) => Offered::Not(obstacle, message),
    }
}

/// `None` when it fits. A waiter is noted under the lock that found the queue full, so that no
/// room made later can miss it.
#[inline]
fn admission(group: &Group, state: &mut State, offer: Offer<'_>) -> Option<Obstacle> {
    let own = offer.origin.is_some_and(|origin| *origin == group.name);
    match group.admits(state, own) {
        Admission::Yes => None,
        Admission::Full => {
            if let Some(topic) = offer.waiter {
                state.starve(topic);
            }
            Some(Obstacle::Full(group.name.clone()))
        }
        Admission::SpillFull => Some(Obstacle::OwnFull(group.name.clone())),
        Admission::Removed => Some(Obstacle::Stale),
    }
}

fn fill(
    states: Vec<MutexGuard<'_, State>>,
    kept: Option<MutexGuard<'_, Kept>>,
    message: Message,
    due: Option<Instant>,
    wakers: &mut Wakers,
) {
    let mut states = states.into_iter();
    let last = states.next_back();
    for mut state in states {
        state.push(message.clone(), due, wakers);
    }
    match (last, kept) {
        (last, Some(mut kept)) => {
            if let Some(mut last) = last {
                last.push(message.clone(), due, wakers);
            }
            kept.push(inbound(message, 0));
        }
        (Some(mut last), None) => last.push(message, due, wakers),
        // Nobody reads it: Ok, and the receipt says so (house rule: no subscriber).
        (None, None) => {}
    }
}
