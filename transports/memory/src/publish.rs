//! Publishing: checks first, then a place in every group's queue or in none.

use tidings_transport::{
    Carried, Message, Name, Origin, Payload, PublishError, Reason, Receipt, TryPublish,
};
use tokio::time::Instant;

use crate::line::{Queued, Waiter};
use crate::recent::{self, Recent};
use crate::route::{Obstacle, Offer, Offered};
use crate::sync::Wakers;
use crate::{Memory, error, headers};

impl Memory {
    #[inline(always)]
    pub(crate) fn publish_now(&self, message: Message, origin: &Origin) -> TryPublish {
        match self.config().encoded {
            false => self.attempt(message, origin),
            true => self.publish_encoded(message, origin),
        }
    }

    #[inline(never)]
    fn publish_encoded(&self, message: Message, origin: &Origin) -> TryPublish {
        // The caller gets its own value back, not the encoded one.
        let original = message.clone();
        let encoded = match headers::encode(message) {
            Ok(encoded) => encoded,
            Err(error) => return TryPublish::Refused(error::not_published(error), original),
        };
        match self.attempt_apart(encoded, origin) {
            TryPublish::Wait(_) => TryPublish::Wait(original),
            TryPublish::Refused(error, _) => TryPublish::Refused(error, original),
            done => done,
        }
    }

    pub(crate) async fn publish_waiting(
        &self,
        message: Message,
        origin: Origin,
    ) -> Result<Receipt, PublishError> {
        // In a call of its own: what it moves about is not held while the ticket waits.
        match self.queue_up(message, origin) {
            Queued::Answered(answer) => answer,
            Queued::Waits(ticket) => ticket.answered(self.config().publish_deadline).await,
        }
    }

    fn queue_up(&self, message: Message, origin: Origin) -> Queued {
        match self.try_queue_up(message, origin) {
            Ok(queued) => queued,
            Err(error) => Queued::Answered(Err(error)),
        }
    }

    fn try_queue_up(&self, message: Message, origin: Origin) -> Result<Queued, PublishError> {
        let message = match self.config().encoded {
            true => headers::encode(message).map_err(error::not_published)?,
            false => message,
        };
        let message = match self.attempt_apart(message, &origin) {
            TryPublish::Done(receipt) => return Ok(Queued::Answered(Ok(receipt))),
            TryPublish::Refused(error, _) => return Err(error),
            TryPublish::Wait(message) => message,
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(error::not_published(Reason::Unsupported(
                "waiting for room needs a tokio runtime: publish inside of one, or use try_publish"
                    .into(),
            )));
        }
        let due = due(&message)?;
        let entry = self.store.entry(&message.topic).map_err(invalid)?;
        let waiter = Waiter {
            message,
            due,
            origin,
            link: self.link.clone(),
        };
        Ok(entry.topic.queue_up(waiter))
    }

    /// One straight line, so that the message, some 200 bytes, is moved once: into the queue.
    #[inline(always)]
    fn attempt(&self, message: Message, origin: &Origin) -> TryPublish {
        if let Err(error) = self.admit(&message) {
            return TryPublish::Refused(error, message);
        }
        let due = match due(&message) {
            Ok(due) => due,
            Err(error) => return TryPublish::Refused(error, message),
        };
        let generation = self.store.generation();
        let Some(recent) = recent::take(self.store.id, generation, &message.topic)
            .or_else(|| self.look_up(generation, &message.topic))
        else {
            return self.attempt_on_new_topic(message, origin);
        };
        let (entry, origin_group) = (&recent.entry, origin.group.as_ref());
        if entry.topic.has_waiters() && !entry.route.is_own_full(origin_group) {
            recent::put(recent);
            return TryPublish::Wait(message);
        }
        let offer = Offer {
            origin: origin_group,
            due,
            waiter: None,
        };
        let mut wakers = Wakers::default();
        match entry.route.offer(message, offer, &mut wakers) {
            Offered::Done => {
                let receipt = entry.route.receipt();
                recent::put(recent);
                wakers.wake();
                TryPublish::Done(receipt)
            }
            Offered::Not(Obstacle::Full(_), message) => {
                recent::put(recent);
                TryPublish::Wait(message)
            }
            // A group was removed between the look-up and the offer; the next table knows.
            Offered::Not(Obstacle::Stale, message) => self.attempt_apart(message, origin),
            Offered::Not(obstacle, message) => {
                TryPublish::Refused(obstacle.into_error(&message.topic), message)
            }
        }
    }

    /// [`attempt`](Self::attempt) where the message may be moved once more.
    #[inline(never)]
    fn attempt_apart(&self, message: Message, origin: &Origin) -> TryPublish {
        self.attempt(message, origin)
    }

    #[cold]
    fn look_up(&self, generation: u64, topic: &Name) -> Option<Box<Recent>> {
        let entry = self.store.table().get(topic)?.clone();
        Some(Box::new(Recent {
            store: self.store.id,
            generation,
            topic: topic.clone(),
            entry,
        }))
    }

    #[cold]
    fn attempt_on_new_topic(&self, message: Message, origin: &Origin) -> TryPublish {
        match self.store.entry(&message.topic) {
            Ok(_) => self.attempt_apart(message, origin),
            Err(text) => TryPublish::Refused(invalid(text), message),
        }
    }

    /// What is refused before anything else happens (P6).
    #[inline]
    fn admit(&self, message: &Message) -> Result<(), PublishError> {
        if self.link.is_closed() {
            return Err(error::closed_publish());
        }
        if !self.is_valid() {
            self.check().map_err(error::not_published)?;
        }
        let config = self.config();
        if let Payload::Bytes(body) = &message.payload
            && body.len() > config.max_payload
        {
            let (size, limit) = (body.len(), config.max_payload);
            return Err(error::not_published(Reason::TooLarge { size, limit }));
        }
        if let Some(key) = &message.key
            && key.len() > config.max_headers
        {
            let (size, limit) = (key.len(), config.max_headers);
            return Err(invalid(format!(
                "key of {size} bytes is over the limit of {limit} bytes"
            )));
        }
        message
            .headers
            .check(config.max_headers)
            .map_err(error::not_published)?;
        if let Carried::Raw(fields) = &message.envelope {
            fields
                .check(config.max_headers)
                .map_err(error::not_published)?;
        }
        Ok(())
    }
}

/// When a delayed message may be delivered; `None` is at once.
#[inline]
fn due(message: &Message) -> Result<Option<Instant>, PublishError> {
    match message.delay {
        None => Ok(None),
        Some(delay) if delay.is_zero() => Ok(None),
        Some(delay) => Instant::now().checked_add(delay).map(Some).ok_or_else(|| {
            invalid(format!(
                "a delay of {delay:?} is beyond the end of time: use a shorter one"
            ))
        }),
    }
}

fn invalid(text: String) -> PublishError {
    error::not_published(Reason::Invalid(text))
}
