use std::panic::panic_any;

use serde::{Deserialize, Serialize};

use tidings_transport::{EncodeError, Malformed};

use super::*;
use crate::text::MAX_ERROR;

/// Version 3 of an event whose upcasters behave as their version says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Third {
    total: u64,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("while dropping");
    }
}

impl Event for Third {
    const NAME: &'static str = "order.placed";
    const VERSION: u32 = 5;

    fn from_version(version: u32, body: &Body<'_>) -> Result<Self, DecodeError> {
        match version {
            5 => body.decode(),
            4 => panic!("{}", "no total\n".repeat(1_000_000)),
            3 => panic_any(Bomb),
            2 => Err(DecodeError::upcast(Self::NAME, 2, 3, "total is negative")),
            _ => Err(DecodeError::no_upcaster(Self::NAME, version, Self::VERSION)),
        }
    }
}

fn fails(version: u32) -> DecodeError {
    decode::<Third>(version, br#"{"total":1}"#).expect_err("no such version")
}

#[test]
#[cfg(feature = "json")]
fn the_current_version_decodes() {
    assert_eq!(
        decode::<Third>(5, br#"{"total":1}"#),
        Ok(Third { total: 1 })
    );
}

#[test]
fn a_future_version_has_its_own_reason() {
    let error = fails(6);
    assert_eq!(
        (error.kind(), error.reason()),
        (DecodeErrorKind::FutureVersion, "future_version")
    );
    let text = error.to_string();
    assert!(
        text.starts_with("order.placed version 6 is newer than version 5"),
        "{text}"
    );
    assert_eq!(fails(u32::MAX).kind(), DecodeErrorKind::FutureVersion);
}

#[test]
fn a_missing_or_failing_upcaster_is_an_upcast_error() {
    for (version, says) in [
        (
            1,
            "no upcaster leads from order.placed version 1 to version 5",
        ),
        (
            0,
            "no upcaster leads from order.placed version 0 to version 5",
        ),
        (
            2,
            "upcasting order.placed from version 2 to version 3 failed: total is negative",
        ),
    ] {
        let error = fails(version);
        assert_eq!(
            (error.kind(), error.reason()),
            (DecodeErrorKind::Upcast, "upcast")
        );
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[test]
fn a_panicking_upcaster_is_an_upcast_error_with_a_bounded_text() {
    let error = fails(4);
    assert_eq!(error.kind(), DecodeErrorKind::Upcast);
    let text = error.to_string();
    assert!(
        text.contains("version 4 to version 5 failed: panicked: no total\\u{a}no total"),
        "{text}"
    );
    assert!(text.len() <= MAX_ERROR + 3, "{}", text.len());
    // A payload that is no text and panics when it is dropped.
    assert_eq!(fails(3).kind(), DecodeErrorKind::Upcast);
}

#[test]
fn a_panic_in_the_current_version_is_no_upcast() {
    #[derive(Serialize, Deserialize)]
    struct Panics;

    impl Event for Panics {
        const NAME: &'static str = "a.b";
        const VERSION: u32 = 1;

        fn from_version(_: u32, _: &Body<'_>) -> Result<Self, DecodeError> {
            panic!("no")
        }
    }

    let error = decode::<Panics>(1, b"{}")
        .err()
        .map(|error| (error.kind(), error.to_string()));
    let says = String::from("decoding a.b version 1 panicked: no");
    assert_eq!(error, Some((DecodeErrorKind::Data, says)));
}

#[test]
fn a_malformed_field_keeps_its_value() {
    let error = DecodeError::from(Malformed::new("eventversion", "abc", "a positive integer"));
    assert_eq!(error.reason(), "malformed_envelope");
    assert!(error.to_string().contains("\"abc\""), "{error}");
}

#[test]
fn a_value_without_an_encoding_says_why() {
    let error = EncodeError::new("outer").with_source("inner");
    assert_eq!(DecodeError::from(error).to_string(), "outer: inner");
}

#[test]
fn names_from_outside_are_escaped() {
    for error in [
        DecodeError::unknown_type(&"a\n\u{1b}\u{202e}".repeat(1_000), "t"),
        DecodeError::unmapped("t\n\u{1b}\u{202e}", "/event"),
        DecodeError::unknown_type("", "t\n\u{1b}\u{202e}"),
    ] {
        let text = error.to_string();
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains("\\n"), "{text}");
    }
}
