//! Retries that give up the order of their key (contract O3): a failed event is put aside in
//! `<group>.retry`, its key goes on, and it comes back from there when its wait is over.

use std::time::Duration;

use tidings_transport::{Inbound, Message, Name, Origin, Position, Timestamp};

use super::{Attempts, RetryPolicy};
use crate::bus::GroupCore;
use crate::handler::HandlerInfo;
use crate::pipeline::job::Delivered;
use crate::pipeline::{header, trace};

/// What is known of an event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The one handler that failed.
    pub(crate) handler: Name,
    /// How much of its wait is left.
    pub(crate) wait: Duration,
    pub(crate) first_failure: Option<Timestamp>,
    panics: u32,
    rate_limited: Duration,
}

/// Puts an event aside for one handler; whether it is safe there (contract R4). If not, it waits
/// where it is, in its lane.
pub(crate) async fn put_aside(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    attempts: &Attempts,
    first_failure: Timestamp,
    after: Duration,
) -> bool {
    let group = &*handler.group;
    let Some(topic) = &group.retries else {
        return false;
    };
    // contract: S2, what waits for a retry is tried at once, and what fails is handed back
    let ends = group.draining.is_cancelled() || handler.is_removed();
    // Of a broker's the transport hands over no more than the window of each partition.
    let is_full =
        !group.bus.capabilities.durable && group.counters.aside() >= group.settings.window;
    if ends || is_full {
        return false;
    }
    let message = compose(handler, delivered, attempts, (first_failure, after), topic);
    let completions = &group.bus.completions;
    let id = completions
        .is_tracking()
        .then(|| delivered.envelope().id.clone());
    if let Some(id) = &id {
        // Before it can be settled over there.
        completions.put_aside(id, &group.name);
    }
    let origin = Origin {
        group: Some(group.name.clone()),
    };
    let ends = async {
        tokio::select! {
            () = group.draining.cancelled() => {}
            () = delivered.revoked().cancelled() => {}
            () = handler.removed() => {}
        }
        // What is under way is most often through by then, and then it is in one place alone.
        tokio::time::sleep(GRACE).await;
    };
    let put = tokio::select! {
        put = group.bus.transport.publish(message, origin) => Some(put),
        () = ends => None,
    };
    let is_safe = match &put {
        // Where the groups are known and there is none, the last handler was removed just now.
        Some(Ok(receipt)) => receipt
            .groups
            .names()
            .is_none_or(|groups| !groups.is_empty()),
        Some(Err(error)) => {
            trace::not_put_aside(handler, delivered, topic, error);
            false
        }
        None => false,
    };
    if let Some(id) = &id
        && !is_safe
    {
        completions.takes_back(id, &group.name);
    }
    is_safe
}

/// How long a write may still take once the delivery cannot wait any more: less than a revoke waits.
const GRACE: Duration = Duration::from_secs(1);

fn compose(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    attempts: &Attempts,
    (first_failure, after): (Timestamp, Duration),
    topic: &Name,
) -> Message {
    let group = &*handler.group;
    let inbound = delivered.message();
    let mut headers = inbound.headers.clone();
    header::set_origin(&mut headers, inbound);
    for (name, value) in [
        (header::HANDLER, handler.name.to_string()),
        (header::GROUP, group.name.to_string()),
        (header::ATTEMPTS, attempts.failed().to_string()),
        (header::PANICS, attempts.panics().to_string()),
        (
            header::RATE_LIMITED,
            attempts.rate_limited().as_millis().to_string(),
        ),
        (header::RETRY_AFTER, after.as_millis().to_string()),
        (header::FIRST_FAILURE, first_failure.to_string()),
        (header::LAST_FAILURE, group.bus.clock.now().to_string()),
    ] {
        header::set(&mut headers, name, value);
    }
    Message {
        topic: topic.clone(),
        key: inbound.key.clone(),
        envelope: inbound.envelope.clone(),
        headers,
        payload: inbound.payload.clone(),
        delay: None,
    }
}

impl Aside {
    /// Reads what was put aside, and makes the message again that it was; an error is what is wrong
    /// with it.
    pub(crate) fn read(group: &GroupCore, put: &Inbound) -> Result<(Inbound, Self), String> {
        let (ours, headers) = header::parted(&put.headers);
        let text = |name| ours.get_str(name);
        let required = |name| text(name).ok_or_else(|| format!("it has no header {name}"));
        let number = |name| -> Result<u64, String> {
            let value = required(name)?;
            value
                .parse()
                .map_err(|_| format!("its header {name} is {value:?}: a number is needed"))
        };
        let count = |name| number(name).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let time = |name| text(name).and_then(|value| value.parse::<Timestamp>().ok());
        let after = Duration::from_millis(number(header::RETRY_AFTER)?);
        let policy = &group.settings.retry;
        // More than there are may be claimed, and would look like a crash loop.
        let failed = count(header::ATTEMPTS)?.min(policy.attempts);
        let elapsed =
            time(header::LAST_FAILURE).map_or(Duration::MAX, |at| group.bus.clock.since(at));
        let aside = Self {
            handler: Name::from(required(header::HANDLER)?),
            wait: after.min(longest_wait(policy)).saturating_sub(elapsed),
            first_failure: time(header::FIRST_FAILURE),
            panics: count(header::PANICS)?,
            rate_limited: Duration::from_millis(number(header::RATE_LIMITED)?),
        };
        let mut origination = put.origination;
        // Each delivery but the first, and each attempt that failed, was one delivery of the event.
        origination.attempt = origination.attempt.max(1).saturating_add(failed);
        origination.published = time(header::PUBLISHED);
        origination.position =
            text(header::PARTITION)
                .zip(text(header::OFFSET))
                .and_then(|(partition, offset)| {
                    Some(Position {
                        partition: partition.parse().ok()?,
                        offset: offset.parse().ok()?,
                    })
                });
        let message = Inbound {
            topic: Name::from(required(header::TOPIC)?),
            key: put.key.clone(),
            envelope: put.envelope.clone(),
            headers,
            payload: put.payload.clone(),
            origination,
        };
        Ok((message, aside))
    }

    /// The attempts so far, of which a message has the number.
    pub(crate) fn attempts(&self, attempts: Attempts) -> Attempts {
        attempts.with(self.panics, self.rate_limited)
    }
}

/// No record, whoever wrote it, is held longer.
fn longest_wait(policy: &RetryPolicy) -> Duration {
    policy.cap.max(policy.rate_limited_total)
}
