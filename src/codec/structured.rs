use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidings_transport::{EncodeError, Encoded, Envelope, EventId, Headers, Name, field};

use super::plain::unquoted;
use super::{Body, Codec, json, look_into, no_json};
use crate::event::DecodeError;

/// What says that a body is a whole event.
const MEDIA_TYPE: &str = "application/cloudevents+json";

/// The data of an event in its JSON format.
const DATA: &str = "data";

/// CloudEvents 1.0 in structured mode: one JSON object holds the attributes and, as `data`, the
/// event.
///
/// ```json
/// {
///   "specversion": "1.0", "id": "evt_1", "type": "order.placed", "eventversion": 2,
///   "source": "order-service", "datacontenttype": "application/json",
///   "time": "2026-03-10T14:23:00Z", "data": { "orderId": "ord_1" }
/// }
/// ```
///
/// The attributes are those of binary mode ([`CloudEvents`](crate::CloudEvents)), and are read as
/// there; the two that count, `eventversion` and `eventhops`, are numbers. The data is carried byte
/// for byte; it may have 64 levels as everywhere, the event is one more. The media type of the
/// message is `application/cloudevents+json`.
///
/// A message that comes with the fields of binary mode is read as such, so that producers can change
/// from one mode to the other one by one. A body that is no JSON object, or has no `type`, is a
/// foreign message.
///
/// Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.
///
/// ```
/// use bytes::Bytes;
/// use tidings::{CloudEventsStructured, Codec};
/// use tidings_transport::{EventId, Headers};
///
/// let body = Bytes::from_static(
///     br#"{"specversion":"1.0","id":"evt_1","type":"order.placed","source":"/shop","data":{"total":59.990}}"#,
/// );
/// let unused = || EventId::from("fallback");
/// let (envelope, data) = CloudEventsStructured.decode(&Headers::new(), &body, &unused)?;
/// let envelope = envelope.expect("it has a type");
/// assert_eq!((envelope.id, envelope.version), (EventId::from("evt_1"), 1));
/// assert_eq!(data, r#"{"total":59.990}"#);
/// # Ok::<(), tidings::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloudEventsStructured;

impl Codec for CloudEventsStructured {
    fn encode(&self, envelope: &Envelope, data: Bytes) -> Result<Encoded, EncodeError> {
        let failed = no_json(envelope);
        let attributes = envelope.to_fields();
        let mut members: Vec<(&str, Cow<'_, RawValue>)> = Vec::with_capacity(13);
        for (name, value) in attributes.iter() {
            // All of them are text: they were made from it.
            let text = String::from_utf8_lossy(value);
            let json = match name.as_str() {
                field::VERSION | field::HOPS => RawValue::from_string(text.into_owned()),
                _ => serde_json::value::to_raw_value(&text),
            };
            members.push((name, Cow::Owned(json.map_err(&failed)?)));
        }
        let data: &RawValue = serde_json::from_slice(&data).map_err(&failed)?;
        members.push((DATA, Cow::Borrowed(data)));
        let members = InOrder(&members);
        let body = serde_json::to_vec(&members).map_err(&failed)?;
        let mut fields = Headers::new();
        fields.push(Name::from_static(field::CONTENT_TYPE), MEDIA_TYPE);
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
        let members: BTreeMap<Cow<'_, str>, &RawValue> = json::parse(text)?;
        let attributes = members
            .iter()
            .filter(|(name, value)| **name != DATA && value.get() != "null")
            .map(|(name, value)| (Name::from(&**name), Bytes::from(unquoted(value))));
        let attributes: Headers = attributes.collect();
        let Some(envelope) = Envelope::parse(&attributes, fallback_id)? else {
            return Ok((None, body.clone()));
        };
        match members.get(DATA) {
            Some(data) => Ok((Some(envelope), body.slice_ref(data.get().as_bytes()))),
            None => Err(DecodeError::envelope(format_args!(
                "the event {} has no member `data`: only JSON data can be read, not `data_base64`",
                envelope.name
            ))),
        }
    }
}

/// Members of an object, as they stand.
struct InOrder<'a>(&'a [(&'a str, Cow<'a, RawValue>)]);

impl serde::Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, &**value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DecodeErrorKind;
    use tidings_transport::TraceContext;

    fn fallback() -> EventId {
        EventId::from("fallback")
    }

    fn decode(body: &str) -> Result<(Option<Envelope>, Bytes), DecodeError> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        CloudEventsStructured.decode(&Headers::new(), &body, &fallback)
    }

    fn envelope() -> Envelope {
        let mut envelope = Envelope::new(
            EventId::from("evt_1"),
            Name::from_static("order.placed"),
            2,
            Name::from_static("order-service"),
        );
        envelope.hops = 3;
        let attributes = envelope.attributes_mut();
        attributes.time = "2026-03-10T14:23:00Z".parse().ok();
        attributes.correlation = Some(EventId::from("c \"1\""));
        attributes.causation = Some(EventId::from("cause"));
        attributes.trace = TraceContext::parse(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            Some("a=b"),
        );
        envelope
    }

    #[test]
    fn what_is_written_is_read_back_and_the_data_is_untouched() {
        let data = r#"{ "price": 29.990, "big": 12345678901234567890123 }"#;
        let wire = CloudEventsStructured
            .encode(&envelope(), data.into())
            .expect("it has an encoding");
        assert_eq!(wire.fields.get_str(field::CONTENT_TYPE), Some(MEDIA_TYPE));
        let text = String::from_utf8(wire.body.to_vec()).expect("text");
        for part in [
            r#""specversion":"1.0""#,
            r#""type":"order.placed""#,
            r#""eventversion":2"#,
            r#""eventhops":3"#,
            r#""correlationid":"c \"1\"""#,
        ] {
            assert!(text.contains(part), "{text}");
        }
        let (read, read_data) = CloudEventsStructured
            .decode(&wire.fields, &wire.body, &fallback)
            .expect("readable");
        assert_eq!(read, Some(envelope()));
        assert_eq!(read_data, data);
    }

    #[test]
    fn binary_mode_is_read_too() {
        let fields = envelope().to_fields();
        let body = Bytes::from_static(b"{}");
        let read = CloudEventsStructured.decode(&fields, &body, &fallback);
        assert_eq!(read, Ok((Some(envelope()), body)));
    }

    #[test]
    fn what_is_no_event_is_foreign() {
        for body in ["[1]", "{}", r#"{"id":"1","data":{}}"#, "7"] {
            assert_eq!(decode(body), Ok((None, Bytes::from(body.to_owned()))));
        }
    }

    #[test]
    fn a_missing_id_is_replaced_and_null_is_missing() {
        let (read, _) = decode(r#"{"type":"t","id":null,"data":1}"#).expect("readable");
        let read = read.expect("typed");
        assert_eq!((read.id, read.version), (fallback(), 1));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (body, kind, said) in [
            (r#"{"type":"t"}"#, DecodeErrorKind::Envelope, "data_base64"),
            (
                r#"{"type":"t","data_base64":"e30="}"#,
                DecodeErrorKind::Envelope,
                "data_base64",
            ),
            (
                r#"{"type":"t","eventversion":"x","data":1}"#,
                DecodeErrorKind::Envelope,
                "\"x\"",
            ),
            (
                r#"{"type":"t","time":"soon","data":1}"#,
                DecodeErrorKind::Envelope,
                "soon",
            ),
        ] {
            let error = decode(body).expect_err(body);
            assert_eq!(error.kind(), kind, "{body}");
            assert!(error.to_string().contains(said), "{body}: {error}");
        }
        assert!(decode("{\"type\":").is_err());
    }
}
