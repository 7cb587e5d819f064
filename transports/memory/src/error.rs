//! The errors of this transport, each made in one place.

use tidings_transport::{ErrorKind, Name, PublishError, Reason, TransportError};

/// The short string of AMQP 0.9.1: a name that fits here fits every transport.
const MAX_NAME: usize = 255;

pub(crate) fn config(text: impl Into<String>) -> TransportError {
    TransportError::new(ErrorKind::Config, text)
}

pub(crate) fn closed() -> TransportError {
    TransportError::new(
        ErrorKind::Closed,
        "the memory transport is closed: clone a live one",
    )
}

pub(crate) fn missing_group(group: &Name) -> TransportError {
    TransportError::new(
        ErrorKind::Missing,
        format!("group {group:?} does not exist: declare or attach it first"),
    )
}

pub(crate) fn not_published(reason: impl Into<Reason>) -> PublishError {
    PublishError::not_published(reason)
}

pub(crate) fn closed_publish() -> PublishError {
    not_published(Reason::Closed)
}

pub(crate) fn full(group: &str, own_queue: bool) -> PublishError {
    not_published(Reason::Full {
        group: group.to_owned(),
        own_queue,
    })
}

/// Checks a topic's or a group's name (P6).
pub(crate) fn check_name(what: &str, name: &Name) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(64).collect();
        return Err(format!(
            "{what} name {shown:?} of {} bytes is not allowed: use 1 to {MAX_NAME} bytes without control characters",
            name.len()
        ));
    }
    Ok(())
}
