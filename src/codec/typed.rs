use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use tidings_transport::{Encode, EncodeError, Encoded, Envelope};

use super::{CloudEvents, Codec, close, json};

/// Encodes an event that is still an `E`: what a broker, or forced encoding in memory, asks for.
///
/// The size limit is the transport's to check: only it knows what it carries beside the body.
pub(crate) struct TypedEncoder<E> {
    /// `None` is [`CloudEvents`], so that the usual encoder is a constant.
    codec: Option<Arc<dyn Codec>>,
    event: PhantomData<fn(&E)>,
}

impl<E> TypedEncoder<E> {
    pub(crate) const USUAL: Self = Self {
        codec: None,
        event: PhantomData,
    };

    pub(crate) fn new(codec: Arc<dyn Codec>) -> Self {
        Self {
            codec: Some(codec),
            event: PhantomData,
        }
    }
}

impl<E: Serialize + Send + Sync + 'static> Encode for TypedEncoder<E> {
    fn encode(
        &self,
        value: &(dyn Any + Send + Sync),
        envelope: &Envelope,
    ) -> Result<Encoded, EncodeError> {
        let event = value.downcast_ref::<E>().ok_or_else(|| {
            EncodeError::new(format!(
                "the value of {} is no {}: a transport has mixed up two messages",
                envelope.name,
                type_name::<E>()
            ))
        })?;
        let codec = self.codec.as_deref().unwrap_or(&CloudEvents);
        close(codec, envelope, json::to_bytes(event)?)
    }
}

impl<E> fmt::Debug for TypedEncoder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedEncoder")
            .field("event", &type_name::<E>())
            .field("codec", &self.codec)
            .finish()
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use bytes::Bytes;
    use tidings_transport::{EventId, Headers, Name};

    use super::*;
    use crate::codec::open;
    use crate::event::{DecodeError, DecodeErrorKind};

    #[derive(Serialize)]
    struct Placed {
        order: &'static str,
    }

    #[derive(Debug)]
    struct Panics;

    impl Codec for Panics {
        fn encode(&self, _: &Envelope, _: Bytes) -> Result<Encoded, EncodeError> {
            panic!("out of order")
        }

        fn decode(
            &self,
            _: &Headers,
            _: &Bytes,
            _: &dyn Fn() -> EventId,
        ) -> Result<(Option<Envelope>, Bytes), DecodeError> {
            panic!("out of order")
        }
    }

    fn envelope() -> Envelope {
        let name = Name::from_static("order.placed");
        Envelope::new(EventId::from("evt_1"), name, 1, Name::from_static("shop"))
    }

    #[test]
    fn encodes_its_own_type_only() {
        let encoder = TypedEncoder::<Placed>::USUAL;
        let encoded = encoder
            .encode(&Placed { order: "ord-1" }, &envelope())
            .expect("plain");
        assert_eq!(encoded.body, r#"{"order":"ord-1"}"#);
        assert_eq!(encoded.fields, envelope().to_fields());
        let error = encoder
            .encode(&"a text", &envelope())
            .expect_err("not Placed");
        assert!(error.to_string().contains("Placed"), "{error}");
    }

    #[test]
    fn a_panicking_codec_is_an_error() {
        let encoder = TypedEncoder::<Placed>::new(Arc::new(Panics));
        let error = encoder
            .encode(&Placed { order: "" }, &envelope())
            .expect_err("panics");
        assert_eq!(error.to_string(), "the codec Panics panicked: out of order");
        let error = open(&Panics, &Headers::new(), &Bytes::new(), &|| {
            EventId::from("x")
        })
        .expect_err("panics");
        assert_eq!(error.kind(), DecodeErrorKind::Envelope);
        assert_eq!(error.to_string(), "the codec Panics panicked: out of order");
    }
}
