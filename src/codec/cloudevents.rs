use bytes::Bytes;
use tidings_transport::{EncodeError, Encoded, Envelope, EventId, Headers};

use super::Codec;
use crate::event::DecodeError;

/// CloudEvents 1.0 in binary mode: the default.
///
/// The body is the event's JSON and nothing else; the envelope travels in fields beside it, which
/// each transport maps to its native headers. The event's version is the extension attribute
/// `eventversion`; correlation, causation and W3C trace context are extensions too.
///
/// Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloudEvents;

impl Codec for CloudEvents {
    fn encode(&self, envelope: &Envelope, data: Bytes) -> Result<Encoded, EncodeError> {
        Ok(Encoded {
            fields: envelope.to_fields(),
            body: data,
        })
    }

    fn decode(
        &self,
        fields: &Headers,
        body: &Bytes,
        fallback_id: &dyn Fn() -> EventId,
    ) -> Result<(Option<Envelope>, Bytes), DecodeError> {
        Ok((Envelope::parse(fields, fallback_id)?, body.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DecodeErrorKind;
    use tidings_transport::{Name, field};

    fn fallback() -> EventId {
        EventId::from("fallback")
    }

    fn fields() -> Headers {
        let name = Name::from_static("order.placed");
        Envelope::new(
            EventId::from("evt_1"),
            name,
            2,
            Name::from_static("order-service"),
        )
        .to_fields()
    }

    #[test]
    fn without_a_type_it_is_a_foreign_message() {
        let body = Bytes::from_static(b"{}");
        let read = CloudEvents.decode(&Headers::new(), &body, &fallback);
        assert_eq!(read, Ok((None, body)));
    }

    #[test]
    fn a_missing_id_is_replaced() {
        for id in [None, Some("")] {
            let mut fields = fields();
            fields.remove(field::ID);
            if let Some(id) = id {
                fields.set(field::ID, id);
            }
            let (envelope, _) = CloudEvents
                .decode(&fields, &Bytes::new(), &fallback)
                .expect("readable");
            assert_eq!(envelope.expect("typed").id, fallback());
        }
    }

    #[test]
    fn a_malformed_version_is_an_envelope_error_that_names_it() {
        for version in ["abc", "-1", "0", "18446744073709551616", "1.5"] {
            let mut fields = fields();
            fields.set(field::VERSION, version);
            let error = CloudEvents
                .decode(&fields, &Bytes::new(), &fallback)
                .expect_err(version);
            assert_eq!(error.kind(), DecodeErrorKind::Envelope);
            assert!(
                error.to_string().contains(&format!("{version:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn times_far_away_are_read_or_refused() {
        for (time, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("-000001-01-01T00:00:00Z", Some(-62_198_755_200_000_000)),
            ("9999-12-30T00:00:00Z", Some(253_402_128_000_000_000)),
            ("10000-01-01T00:00:00Z", None),
            ("+999999999-01-01T00:00:00Z", None),
            ("0", None),
        ] {
            let mut fields = fields();
            fields.set(field::TIME, time);
            let read = CloudEvents
                .decode(&fields, &Bytes::new(), &fallback)
                .map(|(envelope, _)| envelope.and_then(|envelope| envelope.time()));
            match (read, micros) {
                (Ok(Some(read)), Some(micros)) => assert_eq!(read.as_micros(), micros, "{time}"),
                (Err(error), None) => assert_eq!(error.kind(), DecodeErrorKind::Envelope),
                (read, _) => panic!("{time}: {read:?}"),
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_for_the_error() {
        let mut fields = fields();
        fields.set(field::SOURCE, Bytes::from_static(b"a\xffb"));
        let error = CloudEvents
            .decode(&fields, &Bytes::new(), &fallback)
            .expect_err("not UTF-8");
        assert!(error.to_string().contains("a\\\\xffb"), "{error}");
    }
}
