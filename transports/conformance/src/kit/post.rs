use bytes::Bytes;
use tidings_transport::{
    Carried, Envelope, EventId, Headers, Inbound, Message, Name, Payload, Timestamp,
};

use super::{Failure, broken};

/// The `seq`th message of a topic. Its body names both, so that every delivery can be told apart.
pub(crate) fn post(topic: &Name, key: Option<&str>, seq: usize) -> Message {
    let mut envelope = Envelope::new(
        EventId::from(format!("{topic}#{seq}")),
        Name::from_static("conformance.posted"),
        1,
        Name::from_static("conformance"),
    );
    envelope.attributes_mut().time = Some(Timestamp::from_micros(1_773_152_580_000_000));
    Message {
        topic: topic.clone(),
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        envelope: Carried::Local(envelope),
        headers: Headers::new(),
        payload: Payload::Bytes(Bytes::from(format!("{topic}#{seq}"))),
        delay: None,
    }
}

/// Which message of its topic this is.
///
/// Fails when it is not what [`post`] made for the topic it arrived on.
pub(crate) fn read(inbound: &Inbound) -> Result<usize, Failure> {
    let body = body(inbound)?;
    let text = std::str::from_utf8(&body)
        .map_err(|_| broken(format!("a body was changed into {:?}", body.escape_ascii())))?;
    let (topic, seq) = text
        .rsplit_once('#')
        .ok_or_else(|| broken(format!("a body was changed into {text:?}")))?;
    if inbound.topic != topic {
        return Err(broken(format!(
            "a message published to {topic} was delivered as one of {}",
            inbound.topic
        )));
    }
    seq.parse()
        .map_err(|_| broken(format!("a body was changed into {text:?}")))
}

/// The body, which must still be bytes.
pub(crate) fn body(inbound: &Inbound) -> Result<Bytes, Failure> {
    match &inbound.payload {
        Payload::Bytes(body) => Ok(body.clone()),
        Payload::Local(_) => Err(broken("a payload of bytes was delivered as a local value")),
        Payload::Tombstone => Err(broken("a payload of bytes was delivered as a tombstone")),
    }
}

/// The key as text; empty where there is none.
pub(crate) fn key_text(inbound: &Inbound) -> String {
    let key = inbound.key.as_deref().unwrap_or_default();
    String::from_utf8_lossy(key).into_owned()
}

/// The envelope, whichever way it was carried.
pub(crate) fn envelope(inbound: &Inbound) -> Result<Envelope, Failure> {
    match &inbound.envelope {
        Carried::Local(envelope) => Ok(envelope.clone()),
        Carried::Raw(fields) => Envelope::parse(fields, || EventId::from("missing"))?
            .ok_or_else(|| broken("the envelope was lost: no type among its fields")),
    }
}
