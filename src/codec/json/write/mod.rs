//! From a value to bytes.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::Serialize;
use tidings_transport::EncodeError;

use super::check::{Checked, Notes, Refusal};
use super::read::{MAX_DEPTH, sound};
use crate::text::{panic_message, safe};

/// Most events fit, and growing costs a copy.
const FIRST_CAPACITY: usize = 256;

/// Writes a value as JSON that every consumer with our limits reads.
///
/// One pass; where a map or raw JSON was in it, keys may repeat and depth is unknown, so the
/// result is scanned as a consumer would. Structs cannot repeat a key.
pub(crate) fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, EncodeError> {
    let notes = Notes::default();
    let mut body = Vec::with_capacity(FIRST_CAPACITY);
    let written = {
        let mut writer = serde_json::Serializer::new(&mut body);
        // After a panic the body is thrown away and the notes are only read.
        catch_unwind(AssertUnwindSafe(|| {
            Checked::new(value, &notes, MAX_DEPTH).serialize(&mut writer)
        }))
    };
    match written {
        // A type may swallow the error of a part of it.
        Ok(Ok(())) if notes.refusal().is_none() => {}
        written => {
            let problem = written.map(Result::err).map_err(panic_message);
            return Err(refuse(type_name::<T>(), &notes, problem));
        }
    }
    if notes.needs_scan() {
        sound(&body, MAX_DEPTH).map_err(|error| {
            EncodeError::new(format!(
                "{} has no encoding that a consumer would read",
                type_name::<T>()
            ))
            .with_source(error)
        })?;
    }
    Ok(Bytes::from(body))
}

#[cold]
fn refuse(
    name: &str,
    notes: &Notes,
    problem: Result<Option<serde_json::Error>, String>,
) -> EncodeError {
    let path = notes.path();
    let place = if path.is_empty() {
        name.to_owned()
    } else {
        format!("`{}` of {name}", safe(&path))
    };
    match (problem, notes.refusal()) {
        (Err(panic), _) => EncodeError::new(format!("the serializer of {name} {}", safe(&panic))),
        (_, Some(Refusal::NonFinite(value))) => EncodeError::non_finite(format!(
            "{place} is {value}, which is not a finite number and has no JSON: check it before the emit, \
             or make the field an Option"
        )),
        (_, Some(Refusal::TooDeep)) => EncodeError::new(format!(
            "{place} is deeper than {MAX_DEPTH} arrays and objects inside each other, and no consumer \
             would read it: make the data flatter"
        )),
        (Ok(Some(error)), None) => EncodeError::new(format!(
            "{place} cannot be encoded: {}",
            safe(&error.to_string())
        )),
        (Ok(None), None) => EncodeError::new(format!("{place} cannot be encoded")),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
