//! The forced encoding into raw fields that makes memory behave as a broker.

use tidings_transport::{Carried, EncodeError, Message, Payload};

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
