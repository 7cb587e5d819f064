//! What to say about a body that was refused: which value by its path, the limit, the mend. Keys
//! are named, values never are: an error ends up in logs, where data must not.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::Segment;

use super::scan::{Flaw, MAX_NUMBER};
use crate::event::{DecodeError, DecodeErrorKind};
use crate::text::safe;

/// The longest key, in characters, that a message names.
const MAX_KEY: usize = 100;

/// A body whose soundness failed, with `depth` levels allowed.
#[cold]
pub(super) fn flaw(flaw: Flaw, text: &str, depth: usize) -> DecodeError {
    match flaw {
        Flaw::TooDeep { at } => DecodeError::new(
            DecodeErrorKind::TooDeep,
            format_args!(
                "more than {depth} arrays and objects inside each other at byte {at}: send flatter data"
            ),
        ),
        Flaw::DuplicateKey { key } => DecodeError::new(
            DecodeErrorKind::DuplicateKey,
            format_args!(
                "the key {:?} stands twice in one object: send it once",
                shortened(&key)
            ),
        ),
        Flaw::LoneSurrogate { at } => DecodeError::new(
            DecodeErrorKind::Syntax,
            format_args!(
                "not JSON that can be read: half of a surrogate pair at byte {at}; escape both halves"
            ),
        ),
        Flaw::LongNumber { at } => DecodeError::new(
            DecodeErrorKind::Number,
            format_args!(
                "a number of more than {MAX_NUMBER} bytes at byte {at}: send it as a string"
            ),
        ),
        Flaw::HugeNumber { at } => DecodeError::new(
            DecodeErrorKind::Number,
            format_args!("a number beyond the range of f64 at byte {at}: send it as a string"),
        ),
        Flaw::Syntax { at } => not_json(text).unwrap_or_else(|| {
            // The parser takes what the scan refused: they disagree, and the scan is the stricter.
            DecodeError::new(
                DecodeErrorKind::Syntax,
                format_args!("not JSON at byte {at}"),
            )
        }),
    }
}

/// A sound body that is no `T`.
#[cold]
pub(super) fn mismatch<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> DecodeError {
    // A `T` may give up before the parser finds a fault further on, and a map key that is no number
    // is a syntax error to the parser: to us, syntax is what no type reads.
    if let Some(syntax) = not_json(text) {
        return syntax;
    }
    // Tracking the path costs time, so only a body that failed is read with it.
    let mut parser = serde_json::Deserializer::from_str(text);
    let (path, says) = match serde_path_to_error::deserialize::<_, T>(&mut parser) {
        Err(tracked) => (path(tracked.path()), without_value(tracked.inner())),
        Ok(_) => (None, without_value(error)),
    };
    let place = path
        .as_deref()
        .map(|path| format!(" at `{path}`"))
        .unwrap_or_default();
    DecodeError::new(
        DecodeErrorKind::Data,
        format_args!("the data does not fit the event{place}: {says}"),
    )
    .at(path)
}

/// A text that the parser refused.
#[cold]
pub(super) fn syntax(error: &serde_json::Error) -> DecodeError {
    DecodeError::new(
        DecodeErrorKind::Syntax,
        format_args!("the body is not JSON: {error}"),
    )
}

/// Why a text is not JSON; `None` if it is.
fn not_json(text: &str) -> Option<DecodeError> {
    if text.trim_ascii().is_empty() {
        return Some(DecodeError::new(
            DecodeErrorKind::Empty,
            "the body is empty: send the event as JSON, or no body at all for a tombstone",
        ));
    }
    let error = serde_json::from_str::<IgnoredAny>(text).err()?;
    Some(syntax(&error))
}

/// `items[0].price`; `None` for the outermost value.
fn path(path: &serde_path_to_error::Path) -> Option<String> {
    let mut text = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => {
                text.push_str(&format!("[{index}]"));
                continue;
            }
            Segment::Map { key } | Segment::Enum { variant: key } => shortened(key),
            Segment::Unknown => String::from("?"),
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&name);
    }
    // Long keys may come at any depth.
    (!text.is_empty()).then(|| safe(&text).chars().take(6 * MAX_KEY).collect())
}

fn shortened(key: &str) -> String {
    let mut short: String = key.chars().take(MAX_KEY).collect();
    if short.len() < key.len() {
        short.push('…');
    }
    short
}

/// The parser's words without the value that serde quotes in its own kinds of errors, and without
/// line and column, which the path makes needless.
fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = text.strip_prefix(kind) {
            let quote = rest.find(['"', '`']).unwrap_or(rest.len());
            let (found, quoted) =
                rest.split_at(quote.min(rest.find(", expected ").unwrap_or(quote)));
            let expected = behind_quote(quoted);
            return format!("{kind}{}{expected}", found.trim_end());
        }
    }
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        let known = ["`, expected ", "`, there are no variants"];
        let behind = known.iter().filter_map(|known| rest.rfind(known)).max();
        return format!("unknown variant{}", behind.map_or("", |at| &rest[at + 1..]));
    }
    text.to_owned()
}

/// What follows a value as serde quotes it: a text in Rust's notation, or anything in backticks.
fn behind_quote(quoted: &str) -> &str {
    let mut chars = quoted.char_indices();
    let Some((_, quote @ ('"' | '`'))) = chars.next() else {
        return quoted;
    };
    while let Some((at, char)) = chars.next() {
        if char == '\\' && quote == '"' {
            chars.next();
        } else if char == quote {
            return &quoted[at + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use serde::de::{Error, Unexpected};

    use super::*;

    #[test]
    fn values_are_left_out_of_every_kind_of_error() {
        let says = |error: serde_json::Error| without_value(&error);
        for unexpected in [
            Unexpected::Bool(true),
            Unexpected::Unsigned(4111),
            Unexpected::Signed(-4111),
            Unexpected::Float(4111.5),
            Unexpected::Char('4'),
            Unexpected::Str("4111"),
            Unexpected::Str("4111\", expected \\ 4111`"),
            Unexpected::Bytes(b"4111"),
            Unexpected::Unit,
            Unexpected::Seq,
            Unexpected::Map,
        ] {
            let text = says(Error::invalid_type(unexpected, &"a `thing`"));
            assert!(text.ends_with(", expected a `thing`"), "{text}");
            assert!(
                text.starts_with("invalid type: ") && !text.contains("4"),
                "{text}"
            );
            let text = says(Error::invalid_value(unexpected, &"x"));
            assert!(
                text.ends_with(", expected x") && !text.contains("4"),
                "{text}"
            );
        }
        let null = says(Error::invalid_type(Unexpected::Unit, &"u8"));
        assert_eq!(null, "invalid type: null, expected u8");
        let text = says(Error::unknown_variant("4`, expected 4", &["a", "b"]));
        assert_eq!(text, "unknown variant, expected `a` or `b`");
        let text = says(Error::unknown_variant("4", &[]));
        assert_eq!(text, "unknown variant, there are no variants");
        assert_eq!(says(Error::missing_field("id")), "missing field `id`");
        assert_eq!(says(Error::custom("my own words")), "my own words");
    }
}
