//! How an event's envelope and data become a message, and back.
//!
//! The data of an event is JSON; a [`Codec`] decides where the envelope goes beside it.
//! [`CloudEvents`] puts it into fields next to the body, so that a plain JSON consumer reads the
//! body as it is; [`CloudEventsStructured`] and [`PlainEnvelope`] put it into the body, around the
//! data.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use tidings_transport::{EncodeError, Encoded, Envelope, EventId, Headers};

use crate::event::DecodeError;
use crate::text::{panic_message, safe};

mod cloudevents;
pub(crate) mod json;
#[cfg(feature = "json")]
mod plain;
#[cfg(feature = "json")]
mod structured;
mod typed;

pub use cloudevents::CloudEvents;
#[cfg(feature = "json")]
pub use plain::PlainEnvelope;
#[cfg(feature = "json")]
pub use structured::CloudEventsStructured;
pub(crate) use typed::TypedEncoder;

/// How an event's envelope and data become a message body and fields, and back.
///
/// Implement it to speak an envelope that others already use. What [`encode`](Self::encode) wrote
/// [`decode`](Self::decode) reads back as the same envelope and the same data.
///
/// ```
/// use bytes::Bytes;
/// use tidings::{CloudEvents, Codec};
/// use tidings_transport::{Envelope, EventId, Name};
///
/// let envelope = Envelope::new(
///     EventId::from("evt_1"),
///     Name::from_static("order.placed"),
///     2,
///     Name::from_static("order-service"),
/// );
/// let wire = CloudEvents.encode(&envelope, Bytes::from_static(b"{}"))?;
/// assert_eq!(wire.body, "{}");
/// assert_eq!(wire.fields.get_str("type"), Some("order.placed"));
///
/// let unused = || EventId::from("fallback");
/// let (read, data) = CloudEvents.decode(&wire.fields, &wire.body, &unused)?;
/// assert_eq!(read, Some(envelope));
/// assert_eq!(data, "{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec: Debug + Send + Sync + 'static {
    /// Puts an envelope to an event's data, which is JSON.
    ///
    /// # Contract
    ///
    /// Pure: the same envelope and data give the same bytes. `data` is carried byte for byte, so
    /// that numbers stay exact.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when this envelope or data has no such encoding; nothing is sent (P6).
    fn encode(&self, envelope: &Envelope, data: Bytes) -> Result<Encoded, EncodeError>;

    /// Takes a message apart: the envelope, and the event's data still encoded.
    ///
    /// No envelope stands for a message of a foreign producer, which has none of our fields. An
    /// envelope without an id of its own takes the one that `fallback_id` makes.
    ///
    /// # Contract
    ///
    /// Total: any fields and any body give a value or an error, in time linear in their size.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the message becomes a dead letter with its original bytes (D8).
    fn decode(
        &self,
        fields: &Headers,
        body: &Bytes,
        fallback_id: &dyn Fn() -> EventId,
    ) -> Result<(Option<Envelope>, Bytes), DecodeError>;
}

/// What a codec finds that keeps the envelope in the body.
#[cfg(feature = "json")]
enum Body<'a> {
    /// The fields of binary mode came with it, or it is a foreign message: nothing more to look for.
    Bare(Option<Envelope>),
    /// The text of a JSON object, which may hold an envelope.
    Object(&'a str),
}

/// The first step of such a codec: binary mode is read too, so that producers can change one by one.
#[cfg(feature = "json")]
fn look_into<'a>(
    fields: &Headers,
    body: &'a Bytes,
    fallback_id: &dyn Fn() -> EventId,
) -> Result<Body<'a>, DecodeError> {
    if fields.get(tidings_transport::field::TYPE).is_some() {
        return Ok(Body::Bare(Envelope::parse(fields, fallback_id)?));
    }
    // The envelope is one level more.
    let text = json::sound(body, json::MAX_DEPTH + 1)?;
    // A derived struct would read an array too, by position.
    if text.trim_ascii_start().starts_with('{') {
        return Ok(Body::Object(text));
    }
    json::parse::<serde::de::IgnoredAny>(text)?;
    Ok(Body::Bare(None))
}

/// The data of an event that is to stand in a JSON object.
#[cfg(feature = "json")]
fn no_json(envelope: &Envelope) -> impl Fn(serde_json::Error) -> EncodeError {
    move |error| {
        EncodeError::new(format!("the data of {} is not JSON", envelope.name)).with_source(error)
    }
}

/// [`Codec::decode`] of a codec that may be somebody else's: its panic is an error.
pub(crate) fn open(
    codec: &dyn Codec,
    fields: &Headers,
    body: &Bytes,
    fallback_id: &dyn Fn() -> EventId,
) -> Result<(Option<Envelope>, Bytes), DecodeError> {
    catch_unwind(AssertUnwindSafe(|| codec.decode(fields, body, fallback_id))).unwrap_or_else(
        |panic| {
            Err(DecodeError::envelope(format_args!(
                "the codec {codec:?} {}",
                panic_message(panic)
            )))
        },
    )
}

/// [`Codec::encode`] of a codec that may be somebody else's: its panic is an error.
pub(crate) fn close(
    codec: &dyn Codec,
    envelope: &Envelope,
    data: Bytes,
) -> Result<Encoded, EncodeError> {
    catch_unwind(AssertUnwindSafe(|| codec.encode(envelope, data))).unwrap_or_else(|panic| {
        Err(EncodeError::new(safe(&format!(
            "the codec {codec:?} {}",
            panic_message(panic)
        ))))
    })
}
