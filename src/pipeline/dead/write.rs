use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{
    Carried, Message, Name, Origin, Payload, PublishError, Reason as Refused, field,
};

use super::Cause;
use crate::bus::GroupCore;
use crate::handler::HandlerInfo;
use crate::pipeline::job::Delivered;
use crate::pipeline::{Verdict, header, stable_hash, trace};
use crate::text::safe;

/// Longest key or id, in bytes, that a dead letter keeps beside its error (R5); twice what an emit
/// may have as its key.
const MAX_KEPT: usize = 2_048;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Writes a dead letter and says so; the only place that does (contract R4, R5).
///
/// While the write fails the delivery stays unsettled and its lane waits; an alert is logged at
/// every try.
pub(crate) async fn letter(
    group: &GroupCore,
    handler: Option<&HandlerInfo>,
    delivered: Delivered<'_>,
    cause: Cause,
) -> Verdict {
    trace::dead_letter(group, handler, delivered, &cause);
    let Some(topic) = &group.dead_letters else {
        // The group keeps none, by name: the log line above is all that is left.
        return Verdict::DeadLettered;
    };
    // One that is gone is known by its name alone.
    let handler = handler.map(|handler| &handler.name);
    let handler = handler.or(delivered.aside().map(|aside| &aside.handler));
    let mut message = compose(group, handler, delivered, &cause, topic.clone());
    let mut whole = true;
    let mut pause = FIRST_PAUSE;
    loop {
        let published = group
            .bus
            .transport
            .publish(message.clone(), Origin::default())
            .await;
        let error = match published {
            Ok(_) => return Verdict::DeadLettered,
            Err(error) => error,
        };
        trace::dead_letter_failed(group, delivered, topic, &error);
        if whole && is_too_much(&error) {
            // It would be refused as often as it is tried, and its lane would wait for ever.
            (message, whole) = (by_reference(message), false);
            continue;
        }
        let revoked = delivered.revoked();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = group.draining.cancelled() => return Verdict::HandedBack,
            () = revoked.cancelled() => return Verdict::HandedBack,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether what somebody else published, by limits of their own, does not fit ours.
fn is_too_much(error: &PublishError) -> bool {
    let found = error.reason();
    !error.is_unknown()
        && matches!(
            found,
            Refused::TooLarge { .. } | Refused::Header(_) | Refused::Invalid(_)
        )
}

/// The letter without the event: why, and where to find it (misuse 63).
fn by_reference(mut message: Message) -> Message {
    let size = match &message.payload {
        Payload::Bytes(body) => body.len(),
        Payload::Local(_) | Payload::Tombstone => 0,
    };
    let fields = message.envelope.to_fields();
    let (ours, foreign) = header::parted(&message.headers);
    let left_out = format!(
        "{size} bytes of payload, {} headers of {} bytes, {} attributes of {} bytes",
        foreign.len(),
        foreign.size(),
        fields.len(),
        fields.size(),
    );
    message.headers = ours;
    header::set(&mut message.headers, header::LEFT_OUT, left_out);
    // Attributes of the usual size still say which event it is.
    let short = fields.iter().filter(|(_, value)| value.len() <= 256);
    let known = short.filter(|(name, _)| [field::ID, field::TYPE].contains(&name.as_str()));
    message.envelope = Carried::Raw(
        known
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    );
    message.payload = Payload::Bytes(Bytes::new());
    message
}

fn compose(
    group: &GroupCore,
    handler: Option<&Name>,
    delivered: Delivered<'_>,
    cause: &Cause,
    topic: Name,
) -> Message {
    let inbound = delivered.message();
    let handler_name = handler.map_or("", Name::as_str);
    let id = delivered.envelope_id();
    // What it is kept under must fit a key; only an id of somebody else can be longer.
    let id = if id.len() > MAX_KEPT {
        format!("{:016x}", stable_hash(id.as_bytes()))
    } else {
        id
    };
    let key = format!("{id}|{handler_name}");
    let now = group.bus.clock.now();
    let mut headers = inbound.headers.clone();
    let mut set = |name, value: String| header::set(&mut headers, name, value);
    set(header::REASON, cause.reason.to_string());
    let lost_key = inbound
        .key
        .as_ref()
        .filter(|key| key.len() > MAX_KEPT)
        .map(|key| {
            format!(
                "(its key of {} bytes is over the {MAX_KEPT} that are kept) ",
                key.len()
            )
        });
    set(
        header::ERROR,
        safe(&format!(
            "{}{}",
            lost_key.as_deref().unwrap_or(""),
            cause.error
        )),
    );
    set(header::HANDLER, handler_name.to_owned());
    set(header::GROUP, group.name.to_string());
    set(header::ATTEMPTS, cause.attempts.to_string());
    set(
        header::FIRST_FAILURE,
        cause.first_failure.unwrap_or(now).to_string(),
    );
    set(header::LAST_FAILURE, now.to_string());
    header::set_origin(&mut headers, inbound);
    if let Some(key) = &inbound.key
        && lost_key.is_none()
    {
        header::set(&mut headers, header::KEY, key.clone());
    }
    let mut message = Message {
        topic,
        key: Some(Bytes::from(key)),
        envelope: inbound.envelope.clone(),
        headers,
        payload: inbound.payload.clone(),
        delay: None,
    };
    // A value without encoding stays a value: in memory nothing is lost by it.
    if let Payload::Local(local) = &message.payload
        && let Carried::Local(envelope) = &message.envelope
        && let Ok(encoded) = local.encoder.encode(&*local.value, envelope)
        // Nor is one lost that is larger as bytes than the transport takes.
        && encoded.body.len() <= group.bus.capabilities.max_size
    {
        message.payload = Payload::Bytes(encoded.body);
        if encoded.fields.get(field::TYPE).is_none() {
            // The body holds the envelope.
            message.envelope = Carried::Raw(encoded.fields);
        }
    }
    message
}
