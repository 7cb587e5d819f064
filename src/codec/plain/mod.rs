use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tidings_transport::{
    EncodeError, Encoded, Envelope, EventId, Headers, Malformed, Name, Timestamp, TraceContext,
    field,
};

use super::{Body, Codec, json, look_into, no_json};
use crate::event::DecodeError;

/// The envelope as a JSON object around the data, as many services already write it.
///
/// ```json
/// {
///   "eventType": "order.placed", "eventId": "evt_1", "timestamp": "2026-03-10T14:23:00Z",
///   "version": "1.0", "source": "order-service", "data": { "orderId": "ord_1" }
/// }
/// ```
///
/// Version N is written as `"N.0"`; `"N"` and the numbers `N` and `N.0` are read as well. Optional
/// members follow the data: `correlationId`, `causationId`, `traceparent`, `tracestate` and
/// `hops`, which bounds loops. The data is carried byte for byte, so that its numbers stay exact;
/// it may have 64 levels as everywhere, the envelope is one more.
///
/// Reading is as in binary mode: a missing, empty or malformed id is replaced, a missing version
/// is 1, a malformed trace context is ignored, unknown members are ignored. A body without
/// `eventType` is a foreign message. One that comes with the fields of [`CloudEvents`] binary mode
/// is read as such, so that producers can change from one codec to the other one by one.
///
/// [`CloudEvents`]: crate::CloudEvents
///
/// ```
/// use bytes::Bytes;
/// use tidings::{Codec, PlainEnvelope};
/// use tidings_transport::{EventId, Headers};
///
/// let body = Bytes::from_static(
///     br#"{"eventType":"order.placed","eventId":"evt_1","version":"1.0","data":{"total":59.990}}"#,
/// );
/// let unused = || EventId::from("fallback");
/// let (envelope, data) = PlainEnvelope.decode(&Headers::new(), &body, &unused)?;
/// let envelope = envelope.expect("it has an eventType");
/// assert_eq!((envelope.id, envelope.version), (EventId::from("evt_1"), 1));
/// assert_eq!(data, r#"{"total":59.990}"#);
/// # Ok::<(), tidings::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainEnvelope;

impl Codec for PlainEnvelope {
    fn encode(&self, envelope: &Envelope, data: Bytes) -> Result<Encoded, EncodeError> {
        let failed = no_json(envelope);
        let trace = envelope.trace();
        let body = serde_json::to_vec(&Outgoing {
            event_type: &envelope.name,
            event_id: envelope.id.to_string(),
            timestamp: envelope.time().map(|time| time.to_string()),
            version: format!("{}.0", envelope.version),
            source: &envelope.source,
            data: serde_json::from_slice(&data).map_err(&failed)?,
            correlation_id: envelope
                .attributes()
                .correlation
                .as_ref()
                .map(EventId::to_string),
            causation_id: envelope
                .attributes()
                .causation
                .as_ref()
                .map(EventId::to_string),
            traceparent: trace.as_ref().map(TraceContext::traceparent),
            tracestate: trace.as_ref().and_then(TraceContext::tracestate),
            hops: Some(envelope.hops).filter(|&hops| hops > 0),
        })
        .map_err(&failed)?;
        let mut fields = Headers::new();
        fields.push(
            Name::from_static(field::CONTENT_TYPE),
            Bytes::from_static(b"application/json"),
        );
        Ok(Encoded {
            fields,
            body: Bytes::from(body),
        })
    }

    fn decode(
        &self,
        fields: &Headers,
        body: &Bytes,
        fallback_id: &dyn Fn() -> EventId,
    ) -> Result<(Option<Envelope>, Bytes), DecodeError> {
        let text = match look_into(fields, body, fallback_id)? {
            Body::Bare(envelope) => return Ok((envelope, body.clone())),
            Body::Object(text) => text,
        };
        let members: Incoming<'_> = json::parse(text)?;
        let Some(name) = string(members.event_type, "eventType")? else {
            return Ok((None, body.clone()));
        };
        let data = members.data.ok_or_else(|| {
            DecodeError::envelope(format_args!(
                "the envelope of {} has no member `data`: put the event's own members there",
                name
            ))
        })?;
        let envelope = members.envelope(name, fallback_id)?;
        Ok((Some(envelope), body.slice_ref(data.get().as_bytes())))
    }
}

/// The members in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outgoing<'a> {
    event_type: &'a str,
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    version: String,
    source: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hops: Option<u16>,
}

/// All members raw, so that each error can name its member and its value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    event_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    // `null` is the data of a unit struct.
    #[serde(default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    correlation_id: Option<&'a RawValue>,
    causation_id: Option<&'a RawValue>,
    traceparent: Option<&'a RawValue>,
    tracestate: Option<&'a RawValue>,
    hops: Option<&'a RawValue>,
}

impl Incoming<'_> {
    fn envelope(
        &self,
        name: String,
        fallback_id: &dyn Fn() -> EventId,
    ) -> Result<Envelope, Malformed> {
        let id = lenient(self.event_id).filter(|id| !id.is_empty());
        let version = self.version.map_or(Ok(1), |version| {
            let text = unquoted(version);
            Envelope::parse_version(&text).map_err(|_| {
                Malformed::new("version", &text, "a positive integer such as 2 or 1.0")
            })
        })?;
        let source = string(self.source, "source")?.unwrap_or_default();
        let mut envelope = Envelope::new(
            id.map_or_else(fallback_id, EventId::from),
            Name::from(name),
            version,
            Name::from(source),
        );
        if let Some(time) = string(self.timestamp, "timestamp")? {
            let time: Timestamp = time
                .parse()
                .map_err(|_| Malformed::new("timestamp", &time, "an RFC 3339 time"))?;
            envelope.attributes_mut().time = Some(time);
        }
        let correlation = string(self.correlation_id, "correlationId")?
            .map(EventId::from)
            .filter(|correlation| *correlation != envelope.id);
        let causation = string(self.causation_id, "causationId")?.map(EventId::from);
        let trace = lenient(self.traceparent)
            .and_then(|parent| TraceContext::parse(&parent, lenient(self.tracestate).as_deref()));
        let attributes = envelope.attributes_mut();
        attributes.correlation = correlation;
        attributes.causation = causation;
        attributes.trace = trace;
        if let Some(hops) = self.hops.map(unquoted) {
            if hops.is_empty() || !hops.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(Malformed::new("hops", &hops, "a count"));
            }
            // Clamped upwards: a forged count never resets a limit.
            envelope.hops = hops.parse().unwrap_or(u16::MAX);
        }
        Ok(envelope)
    }
}

fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of a member, which must be one; none where the member is missing or null.
fn string(raw: Option<&RawValue>, member: &'static str) -> Result<Option<String>, Malformed> {
    raw.map(|raw| {
        serde_json::from_str(raw.get()).map_err(|_| Malformed::new(member, raw.get(), "a string"))
    })
    .transpose()
}

/// The text of a member whose malformed values count as none.
fn lenient(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// The text of a string, the JSON of anything else.
pub(super) fn unquoted(raw: &RawValue) -> String {
    lenient(Some(raw)).unwrap_or_else(|| raw.get().to_owned())
}

#[cfg(test)]
mod tests;
