use std::collections::VecDeque;

use tidings_transport::{Inbound, Message, Origination};

/// Messages that may be taken, sorted by position, so that what comes back finds its old place.
///
/// Messages and their tags lie apart: a message goes in by one copy of its bytes, which are some
/// 400 and are what a publish spends most of its time on.
#[derive(Default)]
pub(crate) struct Ready {
    messages: VecDeque<Message>,
    tags: VecDeque<Tag>,
}

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Its place in the order of the group.
    pub(crate) position: u64,
    /// How many deliveries began.
    pub(crate) attempt: u32,
}

impl Ready {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Appends a message that is new to the group.
    #[inline(always)]
    pub(crate) fn push(&mut self, position: u64, message: Message) {
        self.tags.push_back(Tag {
            position,
            attempt: 1,
        });
        self.messages.push_back(message);
    }

    /// Puts a message that was given back in its old place, for its next attempt.
    pub(crate) fn put_back(&mut self, position: u64, message: Inbound) {
        let attempt = message.origination.attempt.saturating_add(1);
        let place = self.tags.partition_point(|tag| tag.position < position);
        self.tags.insert(place, Tag { position, attempt });
        self.messages.insert(place, outbound(message));
    }

    /// Moves the first `count` messages to the end of `out`.
    pub(crate) fn move_front(&mut self, count: usize, out: &mut Self) {
        if count >= self.len() && out.is_empty() {
            std::mem::swap(self, out);
        } else {
            out.tags
                .extend(self.tags.drain(..count.min(self.tags.len())));
            out.messages
                .extend(self.messages.drain(..count.min(self.messages.len())));
        }
    }

    /// Moves the messages at these ascending places to the end of `out`.
    pub(crate) fn move_picked(&mut self, picked: &[usize], out: &mut Self) {
        if picked.last().is_none_or(|last| last + 1 == picked.len()) {
            return self.move_front(picked.len(), out);
        }
        for (taken, place) in picked.iter().enumerate() {
            // Each removal moved the later ones up by one.
            if let (Some(tag), Some(message)) = (
                self.tags.remove(place - taken),
                self.messages.remove(place - taken),
            ) {
                out.tags.push_back(tag);
                out.messages.push_back(message);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, &Message)> {
        self.tags.iter().copied().zip(&self.messages)
    }

    /// Removes and returns all, first to last.
    #[inline]
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Tag, Message)> {
        self.tags.drain(..).zip(self.messages.drain(..))
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

fn outbound(message: Inbound) -> Message {
    Message {
        topic: message.topic,
        key: message.key,
        envelope: message.envelope,
        headers: message.headers,
        payload: message.payload,
        delay: None,
    }
}

#[cfg(test)]
mod tests {
    use tidings_transport::{Carried, Headers, Message, Name, Payload};

    use super::{Ready, inbound};

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

    /// Positions, after checking that each message still belongs to its tag.
    fn positions(ready: &mut Ready) -> Vec<u64> {
        ready
            .drain()
            .map(|(tag, message)| {
                assert_eq!(message.topic, *tag.position.to_string());
                tag.position
            })
            .collect()
    }

    #[test]
    fn what_comes_back_finds_its_place() {
        let (mut ready, mut out) = (filled(6), Ready::default());
        ready.move_front(4, &mut out);
        for (tag, message) in out.drain().collect::<Vec<_>>().into_iter().rev().skip(1) {
            ready.put_back(tag.position, inbound(message, tag.attempt));
        }
        assert_eq!(
            ready.iter().map(|(tag, _)| tag.attempt).collect::<Vec<_>>(),
            [2, 2, 2, 1, 1]
        );
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
