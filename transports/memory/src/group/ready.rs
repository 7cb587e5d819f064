use std::collections::VecDeque;
use std::sync::Arc;

use tidings_transport::{Batch, Inbound, Message, Origination, Received, Settle};

/// Messages that may be taken, sorted by position, so that what comes back finds its old place.
///
/// A message goes in by one copy of its some 200 bytes, which is what a publish spends much of its
/// time on, and stays where it lies: whole queues are handed over. So it already has the form in
/// which a consumer gets it; the index to settle it by is its position in the order of the group.
#[derive(Default)]
pub(crate) struct Ready(VecDeque<Received>);

impl Ready {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a message that is new to the group.
    #[inline(always)]
    pub(crate) fn push(&mut self, position: u64, message: Message) {
        self.0
            .push_back(Received::queued(inbound(message, 1), position));
    }

    /// Puts a message that was given back in its old place, for its next attempt.
    pub(crate) fn put_back(&mut self, position: u64, mut message: Inbound) {
        message.origination.attempt = message.origination.attempt.saturating_add(1);
        let place = self.0.partition_point(|other| other.index() < position);
        self.0.insert(place, Received::queued(message, position));
    }

    /// Moves the first `count` messages to the end of `out`.
    pub(crate) fn move_front(&mut self, count: usize, out: &mut Self) {
        if count >= self.len() && out.is_empty() {
            std::mem::swap(self, out);
        } else {
            out.0.extend(self.0.drain(..count.min(self.0.len())));
        }
    }

    /// Moves the messages at these ascending places to the end of `out`.
    pub(crate) fn move_picked(&mut self, picked: &[usize], out: &mut Self) {
        if picked.last().is_none_or(|last| last + 1 == picked.len()) {
            return self.move_front(picked.len(), out);
        }
        for (taken, place) in picked.iter().enumerate() {
            // Each removal moved the later ones up by one.
            out.0.extend(self.0.remove(place - taken));
        }
    }

    /// Positions and messages, first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Inbound)> {
        self.0.iter().map(|message| (message.index(), &**message))
    }

    /// Hands all over, to the end of `batch`.
    #[inline]
    pub(crate) fn hand_over(&mut self, batch: &mut Batch, settle: &Arc<dyn Settle>) {
        batch.add(&mut self.0, settle);
    }
}

/// A message as its consumer sees it.
#[inline(always)]
pub(crate) fn inbound(message: Message, attempt: u32) -> Inbound {
    Inbound {
        topic: message.topic,
        key: message.key,
        envelope: message.envelope,
        headers: message.headers,
        payload: message.payload,
        origination: Origination {
            attempt,
            position: None,
            published: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use tidings_transport::{Carried, Headers, Message, Name, Payload};

    use super::Ready;

    fn message(number: u64) -> Message {
        Message {
            topic: Name::from(number.to_string()),
            key: None,
            envelope: Carried::Raw(Headers::new()),
            headers: Headers::new(),
            payload: Payload::Tombstone,
            delay: None,
        }
    }

    fn filled(count: u64) -> Ready {
        let mut ready = Ready::default();
        (0..count).for_each(|number| ready.push(number, message(number)));
        ready
    }

    /// Positions, after checking that each belongs to its message.
    fn positions(ready: &mut Ready) -> Vec<u64> {
        let positions = ready
            .iter()
            .map(|(position, message)| {
                assert_eq!(message.topic, *position.to_string());
                position
            })
            .collect();
        *ready = Ready::default();
        positions
    }

    #[test]
    fn what_comes_back_finds_its_place() {
        let (mut ready, mut out) = (filled(6), Ready::default());
        ready.move_front(4, &mut out);
        let taken: Vec<_> = out.iter().map(|(at, it)| (at, it.clone())).collect();
        for (position, message) in taken.into_iter().rev().skip(1) {
            ready.put_back(position, message);
        }
        let attempts = ready.iter().map(|(_, message)| message.origination.attempt);
        assert_eq!(attempts.collect::<Vec<_>>(), [2, 2, 2, 1, 1]);
        assert_eq!(positions(&mut ready), [0, 1, 2, 4, 5]);
    }

    #[test]
    fn picked_messages_leave_the_others_in_order() {
        let (mut ready, mut out) = (filled(7), filled(0));
        ready.move_picked(&[1, 2, 5], &mut out);
        assert_eq!(positions(&mut out), [1, 2, 5]);
        ready.move_picked(&[0, 1], &mut out);
        assert_eq!(positions(&mut out), [0, 3]);
        assert_eq!(positions(&mut ready), [4, 6]);
    }

    #[test]
    fn moving_more_than_there_is_moves_all() {
        let (mut ready, mut out) = (filled(3), filled(1));
        ready.move_front(9, &mut out);
        assert!(ready.is_empty());
        assert_eq!(out.len(), 4);
    }
}
