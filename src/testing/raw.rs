use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{Carried, Encoded, Headers, Message, Name, Payload};

/// A record as any program could write it: well formed, foreign, broken or forged. Nothing is
/// checked before [`TestBus::inject`](super::TestBus::inject) hands it to the transport.
///
/// Envelope fields have the names of CloudEvents ([`transport::field`](crate::transport::field)):
/// `type`, `id`, `eventversion`, … Without a `type` it is a foreign producer's record, which the
/// one event type of the topic reads as its newest version.
///
/// ```
/// use tidings::testing::raw;
///
/// let foreign = raw("order.placed").body(r#"{"order_id":"ord-1"}"#);
/// let broken = raw("order.placed").field("type", "order.placed").body("{");
/// let forged = raw("order.placed").field("type", "order.placed").field("eventversion", "-1");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a raw record does nothing until it is injected"]
pub struct Raw(Message);

/// A [`Raw`] record for a topic: no key, no fields, no headers, an empty body.
pub fn raw(topic: impl Into<Name>) -> Raw {
    Raw(Message {
        topic: topic.into(),
        key: None,
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Bytes(Bytes::new()),
        delay: None,
    })
}

impl Raw {
    pub(super) fn encoded(topic: Name, encoded: Encoded) -> Self {
        let mut raw = raw(topic);
        raw.0.envelope = Carried::Raw(encoded.fields);
        raw.body(encoded.body)
    }

    pub(super) fn into_message(self) -> Message {
        self.0
    }

    /// What it is ordered by; any bytes.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// Sets an envelope field, replacing an earlier value; any bytes.
    pub fn field(mut self, name: impl Into<Name>, value: impl Into<Bytes>) -> Self {
        let mut fields = self.0.envelope.to_fields();
        fields.set(name, value);
        self.0.envelope = Carried::Raw(fields);
        self
    }

    /// Removes an envelope field.
    pub fn without_field(mut self, name: &str) -> Self {
        let mut fields = self.0.envelope.to_fields();
        fields.remove(name);
        self.0.envelope = Carried::Raw(fields);
        self
    }

    /// Adds a header; repeats are kept.
    pub fn header(mut self, name: impl Into<Name>, value: impl Into<Bytes>) -> Self {
        self.0.headers.push(name, value);
        self
    }

    /// The body; any bytes.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.payload = Payload::Bytes(body.into());
        self
    }

    /// No body at all, which says that what the key names is gone.
    pub fn tombstone(mut self) -> Self {
        self.0.payload = Payload::Tombstone;
        self
    }

    /// Delivered no earlier than this after it is injected.
    pub fn after(mut self, delay: Duration) -> Self {
        self.0.delay = Some(delay);
        self
    }
}
