//! Header limits, and the forced encoding into raw fields that makes memory behave as a broker.

use tidings_transport::{Carried, EncodeError, HeaderError, Headers, Message, Payload};

/// Headers of the bus itself start with this.
const RESERVED: &str = "tidings-";

/// Bytes that the bus's own headers may have beside the user's: twice what a dead letter adds
/// (R5), so that a message at the limit can still be dead-lettered.
const RESERVED_LIMIT: usize = 8 * 1024;

/// Checks names and sizes; the bus's own headers have an allowance of their own (P6).
pub(crate) fn check(headers: &Headers, limit: usize) -> Result<(), HeaderError> {
    if headers.is_empty() {
        return Ok(());
    }
    let reserved: usize = headers
        .iter()
        .filter(|(name, _)| name.starts_with(RESERVED))
        .map(|(name, value)| name.len() + value.len())
        .sum();
    headers.check(limit.saturating_add(reserved.min(RESERVED_LIMIT)))
}

/// Encodes the payload and flattens the envelope; doing it twice changes nothing.
pub(crate) fn encode(message: Message) -> Result<Message, EncodeError> {
    let wire = message.into_wire()?;
    Ok(Message {
        topic: wire.topic,
        key: wire.key,
        envelope: Carried::Raw(wire.fields),
        headers: wire.headers,
        payload: wire.body.map_or(Payload::Tombstone, Payload::Bytes),
        delay: wire.delay,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_has_an_allowance_of_its_own() {
        let mut headers = Headers::new();
        headers.push("user", vec![0; 96]);
        assert_eq!(check(&headers, 100), Ok(()));
        headers.push("tidings-reason", vec![0; 4096]);
        assert_eq!(check(&headers, 100), Ok(()));
        headers.push("tidings-more", vec![0; 5000]);
        assert!(matches!(
            check(&headers, 100),
            Err(HeaderError::TooLarge { .. })
        ));

        let mut users = Headers::new();
        users.push("user", vec![0; 97]);
        assert_eq!(
            check(&users, 100),
            Err(HeaderError::TooLarge {
                size: 101,
                limit: 100
            })
        );
    }
}
