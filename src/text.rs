//! Text from outside, made fit for logs and dead letters: bounded, escaped, redacted.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest text kept of an error, in bytes.
pub(crate) const MAX_ERROR: usize = 1_024;

/// The message of a panic. The payload's own drop code may panic too; that is swallowed.
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("a panic whose payload is no text"));
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // Dropping this one could panic too, and so on.
        std::mem::forget(again);
    }
    format!("panicked: {text}")
}

/// An error and its sources, `a: b: c`, bounded, escaped and redacted. An error whose `Display`
/// panics is said to do so.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let text = catch_unwind(AssertUnwindSafe(|| {
        let mut text = Bounded(String::new());
        let mut next = Some(error);
        let mut depth = 0;
        while let Some(error) = next {
            let separator = if depth == 0 { "" } else { ": " };
            if depth == 16 || write!(text, "{separator}{error}").is_err() {
                break;
            }
            depth += 1;
            next = error.source();
        }
        text.0
    }))
    .unwrap_or_else(|_| String::from("an error whose display panicked"));
    safe(&text)
}

/// Bounded to [`MAX_ERROR`] bytes, control and direction characters escaped, secrets masked.
pub(crate) fn safe(text: &str) -> String {
    let mut out = Bounded(String::new());
    for c in redact(&text[..floor_char_boundary(text, 4 * MAX_ERROR)]).chars() {
        let written = if needs_escape(c) {
            write!(out, "{}", c.escape_unicode())
        } else {
            out.write_char(c)
        };
        if written.is_err() {
            break;
        }
    }
    if out.0.len() > MAX_ERROR {
        out.0
            .truncate(floor_char_boundary(&out.0, MAX_ERROR - '…'.len_utf8()));
        out.0.push('…');
    }
    out.0
}

/// Shows a text from outside in a log line, with what could forge lines or colours escaped.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| {
                    if needs_escape(c) {
                        write!(self.0, "{}", c.escape_unicode())
                    } else {
                        self.0.write_char(c)
                    }
                })
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// Control characters, and the bidirectional ones that turn a line round.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Masks what looks like a credential: the user info of a URL, and values named like secrets.
fn redact(text: &str) -> String {
    const NAMES: [&str; 7] = [
        "password", "passwd", "pwd", "secret", "token", "api_key", "apikey",
    ];
    const SCHEMES: [&str; 2] = ["bearer ", "basic "];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("://") {
            out.push_str("://");
            let end = after
                .find(|c: char| c == '/' || c.is_whitespace())
                .unwrap_or(after.len());
            rest = after;
            if let Some(at) = after[..end].rfind('@') {
                out.push_str("***@");
                rest = &after[at + 1..];
            }
            continue;
        }
        let begins_with = |name: &&str| {
            rest.get(..name.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(name))
        };
        // `Authorization: Bearer …`
        if let Some(scheme) = SCHEMES.iter().find(|scheme| begins_with(scheme)) {
            let (scheme, value) = rest.split_at(scheme.len());
            out.push_str(scheme);
            out.push_str("***");
            rest = &value[end_of_value(value)..];
            continue;
        }
        let name = NAMES.iter().find(|name| begins_with(name));
        if let Some(name) = name {
            let after = &rest[name.len()..];
            out.push_str(&rest[..name.len()]);
            rest = after;
            let value = after.trim_start_matches(['"', '\'', ' ']);
            if let Some(value) = value.strip_prefix(['=', ':']) {
                let value = value.trim_start_matches(['"', '\'', ' ']);
                let end = end_of_value(value);
                if end > 0 {
                    out.push_str("=***");
                    rest = &value[end..];
                }
            }
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn end_of_value(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ',' | ';' | ')'))
        .unwrap_or(text.len())
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// A string that refuses to grow far beyond the bound.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (MAX_ERROR + 8).saturating_sub(self.0.len());
        if text.len() > room {
            self.0.push_str(&text[..floor_char_boundary(text, room)]);
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_is_cut_escaped_and_redacted() {
        let huge = safe(&"x".repeat(10_000_000));
        assert!(
            huge.len() <= MAX_ERROR && huge.ends_with('…'),
            "{}",
            huge.len()
        );
        assert_eq!(
            safe("a\r\nb\u{1b}[31m\u{202e}"),
            "a\\u{d}\\u{a}b\\u{1b}[31m\\u{202e}"
        );
        assert_eq!(safe("at amqp://bob:hunter2@host/x"), "at amqp://***@host/x");
        assert_eq!(safe("password=hunter2 left"), "password=*** left");
        assert_eq!(safe("{\"token\": \"abc\"}"), "{\"token=***\"}");
        assert_eq!(safe("password wrong"), "password wrong");
        assert_eq!(
            safe("Authorization: Bearer abc, next"),
            "Authorization: Bearer ***, next"
        );
        assert_eq!(Escaped("a\nb").to_string(), "a\\u{a}b");
    }

    #[test]
    fn a_chain_shows_every_level_once() {
        let error = std::io::Error::other("inner");
        let outer =
            tidings_transport::TransportError::new(tidings_transport::ErrorKind::Other, "outer")
                .with_source(error);
        assert_eq!(chain(&outer), "outer: inner");
    }
}
