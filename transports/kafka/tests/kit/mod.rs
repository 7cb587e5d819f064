//! What the tests of this crate share.
#![allow(dead_code, reason = "no test target uses all of it")]

use tidings_transport::{Carried, Headers, Message, Name, Payload, Topology};

/// An event of a foreign producer: a key, and a body without fields.
pub(crate) fn message(topic: &str, key: Option<&str>) -> Message {
    Message {
        topic: Name::from(topic),
        key: key.map(|key| key.to_owned().into()),
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes("{}".into()),
        delay: None,
    }
}

/// One topic, and no group.
pub(crate) fn only(topic: &str) -> Topology {
    Topology {
        topics: vec![Name::from(topic)],
        ..Topology::default()
    }
}
