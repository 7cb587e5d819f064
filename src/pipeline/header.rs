//! The headers of what the bus writes aside for later, dead letters and retries, under the reserved
//! prefix. Replaced on each hop, never appended.

use bytes::Bytes;
use tidings_transport::{Headers, Inbound, Name};

/// Of both.
pub(super) const HANDLER: &str = "tidings-handler";
pub(super) const GROUP: &str = "tidings-group";
pub(super) const ATTEMPTS: &str = "tidings-attempts";
pub(super) const FIRST_FAILURE: &str = "tidings-first-failure";
pub(super) const LAST_FAILURE: &str = "tidings-last-failure";
pub(super) const TOPIC: &str = "tidings-topic";
pub(super) const PARTITION: &str = "tidings-partition";
pub(super) const OFFSET: &str = "tidings-offset";
pub(super) const PUBLISHED: &str = "tidings-published";
/// Of a dead letter.
pub(super) const REASON: &str = "tidings-reason";
pub(super) const ERROR: &str = "tidings-error";
pub(super) const KEY: &str = "tidings-key";
pub(super) const LEFT_OUT: &str = "tidings-left-out";
/// Of a retry.
pub(super) const PANICS: &str = "tidings-panics";
pub(super) const RATE_LIMITED: &str = "tidings-rate-limited";
pub(super) const RETRY_AFTER: &str = "tidings-retry-after";

pub(super) const ALL: [&str; 16] = [
    HANDLER,
    GROUP,
    ATTEMPTS,
    FIRST_FAILURE,
    LAST_FAILURE,
    TOPIC,
    PARTITION,
    OFFSET,
    PUBLISHED,
    REASON,
    ERROR,
    KEY,
    LEFT_OUT,
    PANICS,
    RATE_LIMITED,
    RETRY_AFTER,
];

pub(super) fn set(headers: &mut Headers, name: &'static str, value: impl Into<Bytes>) {
    headers.set(Name::from_static(name), value);
}

/// Says where an event came from.
pub(super) fn set_origin(headers: &mut Headers, inbound: &Inbound) {
    set(headers, TOPIC, inbound.topic.to_string());
    if let Some(position) = inbound.origination.position {
        set(headers, PARTITION, position.partition.to_string());
        set(headers, OFFSET, position.offset.to_string());
    }
    if let Some(published) = inbound.origination.published {
        set(headers, PUBLISHED, published.to_string());
    }
}

/// The bus's own headers, and all others.
pub(super) fn parted(headers: &Headers) -> (Headers, Headers) {
    let is_ours = |(name, _): &(Name, Bytes)| ALL.contains(&name.as_str());
    let all = headers.iter();
    let all = all.map(|(name, value)| (name.clone(), value.clone()));
    let (ours, foreign): (Vec<_>, Vec<_>) = all.partition(is_ours);
    (ours.into_iter().collect(), foreign.into_iter().collect())
}
