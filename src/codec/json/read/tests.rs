use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Instant;

use DecodeErrorKind::{Data, DuplicateKey, Empty, Number, Syntax, TooDeep, Utf8};
use serde::de::{Error, IgnoredAny};

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    id: String,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Item {
    quantity: u32,
    price: f64,
    #[serde(default)]
    color: Option<Color>,
    #[serde(default)]
    code: Option<Code>,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Color {
    Red,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Code(String);

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        if code.len() == 3 {
            Ok(Self(code))
        } else {
            Err("a code has three letters")
        }
    }
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(body: impl AsRef<[u8]>) -> DecodeError {
    from_slice::<T>(body.as_ref()).expect_err("must be refused")
}

/// Judged the same whatever reads it: a struct, a map, a value, nobody.
#[track_caller]
fn refused_by_all(body: impl AsRef<[u8]>, kind: DecodeErrorKind) -> String {
    let body = body.as_ref();
    let error = refused::<Order>(body);
    assert_eq!(error.kind(), kind, "{error}");
    for other in [
        refused::<HashMap<String, IgnoredAny>>(body),
        refused::<serde_json::Value>(body),
        refused::<IgnoredAny>(body),
    ] {
        assert_eq!(error, other);
    }
    error.to_string()
}

#[test]
fn an_event_is_read_and_unknown_members_are_ignored() {
    let body = br#" { "id" : "a\"b\u00e9\ud83d\ude00\\", "new": {"a": [1, true, null, -0.5e-3]},
        "items": [ {"quantity": 1, "price": 1e2, "color": "Red", "code": "abc"} ] } "#;
    let order: Order = from_slice(body).expect("sound");
    assert_eq!(order.id, "a\"bé😀\\");
    assert_eq!(order.items[0].price, 100.0);
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for body in [
        "{",
        "}",
        "[1,]",
        "{\"id\":}",
        "{\"id\" 1}",
        "{,}",
        "nul",
        "nulls",
        "{\"id\":\"a\"} x",
        "{\"id\":\"a\"}{}",
        "\"open",
        "\"open\\",
        "\"\\u12\"",
        "\"\\x\"",
        "'a'",
        "{id:1}",
        "01",
        "1.",
        "-",
        "+1",
        "\u{feff}{}",
        "{\"id\":\"a\u{1}\"}",
        "NaN",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "[}",
    ] {
        assert_eq!(refused::<Order>(body).kind(), Syntax, "{body}");
        assert_eq!(refused::<IgnoredAny>(body).kind(), Syntax, "{body}");
    }
    let text = refused::<Order>(r#"{"id":"a",,}"#).to_string();
    assert!(text.contains("line 1 column 11"), "{text}");
}

#[test]
fn empty_null_and_invalid_utf8_are_told_apart() {
    for body in ["", " ", "\r\n\t "] {
        assert_eq!(refused::<Order>(body).kind(), Empty, "{body:?}");
    }
    let null = refused::<Order>("null");
    assert_eq!((null.kind(), null.path()), (Data, None));
    let error = refused::<Order>(b"{\"id\":\"a\xffb\"}");
    assert_eq!((error.kind(), error.reason()), (Utf8, "not_utf8"));
    assert!(error.to_string().contains("byte 8"), "{error}");
    // Also where no one looks.
    assert_eq!(refused::<IgnoredAny>(b"[\"\xc3\"]").kind(), Utf8);
}

#[test]
fn depth_64_is_read_and_65_is_not() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(from_slice::<serde_json::Value>(nested(64).as_bytes()).is_ok());
    assert_eq!(refused::<serde_json::Value>(nested(65)).kind(), TooDeep);
    let text = refused_by_all(format!(r#"{{"new":{}}}"#, nested(64)), TooDeep);
    assert!(text.contains("64"), "{text}");
    assert!(from_slice::<IgnoredAny>(format!(r#"{{"new":{}}}"#, nested(63)).as_bytes()).is_ok());
    // Brackets in strings do not count, and closed ones count no more.
    assert!(from_slice::<IgnoredAny>(format!("\"{}\"", "[".repeat(100)).as_bytes()).is_ok());
    assert!(from_slice::<IgnoredAny>(format!("[{}[]]", "[{}],".repeat(100)).as_bytes()).is_ok());
}

#[test]
fn a_million_brackets_overflow_no_stack() {
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        assert_eq!(
            refused::<serde_json::Value>(open.repeat(1_000_000)).kind(),
            TooDeep
        );
    }
    let body = format!(r#"{{"id":"a","new":{}"#, "[".repeat(1_000_000));
    refused_by_all(body, TooDeep);
}

#[test]
fn numbers_no_double_holds_are_refused() {
    for number in ["1e400", "-1e400", "1E+309", "17976931348623157e300"] {
        let text = refused_by_all(format!(r#"{{"id":"a","new":[{number}]}}"#), Number);
        assert!(text.contains("f64"), "{text}");
        assert_eq!(refused::<f64>(number).kind(), Number);
    }
    let digits = "9".repeat(309);
    refused_by_all(format!(r#"{{"id":"a","new":{digits}}}"#), Number);
    for fine in ["1e308", "1e-400", "0.1", &"9".repeat(308), "-12.5E-3"] {
        let value: f64 = from_slice(fine.as_bytes()).expect(fine);
        assert!(value.is_finite());
    }
    assert_eq!(
        from_slice::<u128>(u128::MAX.to_string().as_bytes()),
        Ok(u128::MAX)
    );
}

#[test]
fn a_million_digits_cost_no_more_than_their_reading() {
    let start = Instant::now();
    for number in [
        "9".repeat(1_000_000),
        format!("0.{}", "3".repeat(1_000_000)),
        format!("1e{}", "9".repeat(1_000_000)),
    ] {
        let text = refused_by_all(format!(r#"{{"id":"a","new":{number}}}"#), Number);
        assert!(text.contains("1024"), "{text}");
    }
    // 12 readings of a megabyte; quadratic time would take hours.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn a_key_twice_is_refused_wherever_it_is() {
    for body in [
        r#"{"id":"a","id":"b"}"#,
        r#"{"id":"a","new":1,"new":2}"#,
        r#"{"id":"a","new":{"x":1,"y":{},"x":2}}"#,
        r#"{"id":"a","new":[[{"x":1,"x":1}]]}"#,
        // Equal as they read, not as they are written.
        r#"{"id":"a","new":1,"n\u0065w":2}"#,
        r#"{"id":"a","n\u0065w":1,"\u006eew":2}"#,
        r#"{"id":"a","":1,"":2}"#,
    ] {
        let text = refused_by_all(body, DuplicateKey);
        assert!(text.contains("twice"), "{text}");
    }
    // The same key in other objects is another key.
    let body =
        r#"{"id":"a","items":[],"new":{"id":1,"items":{"id":2}},"more":[{"id":1},{"id":1}]}"#;
    assert!(from_slice::<Order>(body.as_bytes()).is_ok());
}

#[test]
fn a_key_twice_is_found_in_an_object_of_any_size() {
    for count in [2, 5, 31, 32, 33, 34, 64, 100, 5_000] {
        let keys: Vec<String> = (0..count).map(|n| format!(r#""key {n}":{n}"#)).collect();
        let sound = format!("{{{}}}", keys.join(","));
        assert!(
            from_slice::<BTreeMap<String, u32>>(sound.as_bytes()).is_ok(),
            "{count}"
        );
        for twin in [0, count / 2, count - 1] {
            let body = format!(r#"{{{},"key {twin}":0}}"#, keys.join(","));
            let error = refused::<BTreeMap<String, u32>>(&body);
            assert_eq!(error.kind(), DuplicateKey, "{twin} of {count}");
            assert!(
                error.to_string().contains(&format!("\"key {twin}\"")),
                "{error}"
            );
        }
    }
}

#[test]
fn half_a_surrogate_pair_is_refused_wherever_it_is() {
    for string in [
        r"\ud800",
        r"\udc00",
        r"\ud800x",
        r"\ud800\u0041",
        r"\ud800\ud800",
        r"\udc00\ud800",
        r"\uDBFF\n",
    ] {
        let text = refused_by_all(format!(r#"{{"id":"a","new":"{string}"}}"#), Syntax);
        assert!(text.contains("surrogate"), "{text}");
        refused_by_all(format!(r#"{{"id":"a","new":{{"{string}":1}}}}"#), Syntax);
    }
}

#[test]
fn nul_in_a_string_works() {
    let order: Order = from_slice(br#"{"id":"a\u0000b"}"#).expect("sound");
    assert_eq!(order.id, "a\0b");
}

#[test]
fn errors_of_shape_name_the_path_and_never_the_value() {
    for (body, path, says) in [
        (
            r#"{"id":4111222233334444}"#,
            Some("id"),
            "integer, expected a string",
        ),
        (r#"{"items":[]}"#, None, "missing field `id`"),
        (
            r#"{"id":"a","items":[{"quantity":1,"price":1},{"quantity":"4111", expected 2","price":1}]}"#,
            None,
            "",
        ),
        (
            r#"{"id":"a","items":[{"quantity":1,"price":1},{"quantity":"4111\", expected 2","price":1}]}"#,
            Some("items[1].quantity"),
            "invalid type: string, expected u32",
        ),
        (
            r#"{"id":"a","items":[{"quantity":-4111,"price":1}]}"#,
            Some("items[0].quantity"),
            "integer, expected u32",
        ),
        (
            r#"{"id":"a","items":[{"quantity":1}]}"#,
            Some("items[0]"),
            "missing field `price`",
        ),
        (
            r#"{"id":"a","items":[{"quantity":1,"price":1,"color":"4111`, expected"}]}"#,
            Some("items[0].color"),
            "unknown variant, expected `Red`",
        ),
        // Errors that a type's own check makes, after the parser has gone on.
        (
            r#"{"id":"a","items":[{"quantity":1,"price":1,"code":"4111"}]}"#,
            Some("items[0].code"),
            "a code has three letters",
        ),
        (
            r#"{"id":"a","items":[{"code":"4111", "quantity":1,"price":1}]}"#,
            Some("items[0].code"),
            "three letters",
        ),
        (r#"[4111]"#, Some("[0]"), "integer, expected a string"),
    ] {
        let error = refused::<Order>(body);
        if says.is_empty() {
            assert_eq!(error.kind(), Syntax, "{error}");
            continue;
        }
        assert_eq!((error.kind(), error.path()), (Data, path), "{error}");
        let text = error.to_string();
        assert!(text.contains(says), "{text}");
        assert!(path.is_none_or(|path| text.contains(path)), "{text}");
        assert!(!text.contains("4111"), "{text}");
    }
}

#[test]
fn a_map_key_of_the_wrong_type_is_an_error_of_shape() {
    let error = refused::<HashMap<u32, u32>>(r#"{"one":1}"#);
    assert_eq!(error.kind(), Data, "{error}");
}

#[test]
fn long_and_hostile_keys_are_bounded_and_escaped() {
    let key = format!("\\u001b\\u202e{}", "k".repeat(100_000));
    let error = refused::<HashMap<String, u32>>(format!(r#"{{"{key}":"x"}}"#));
    assert_eq!(error.kind(), Data);
    assert!(
        error.to_string().len() <= 1_024 && error.path().is_some_and(|path| path.len() <= 1_024)
    );
    assert!(!error.to_string().contains('\u{1b}') && !error.to_string().contains('\u{202e}'));
    let error = refused::<IgnoredAny>(format!(r#"{{"{key}":1,"{key}":1}}"#));
    assert_eq!(error.kind(), DuplicateKey);
    assert!(error.to_string().len() <= 1_024 && !error.to_string().contains('\u{202e}'));
}

#[test]
fn a_type_that_fails_only_once_is_an_error_all_the_same() {
    use std::cell::Cell;
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });

    #[derive(Debug)]
    struct Fickle;
    impl<'de> Deserialize<'de> for Fickle {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            IgnoredAny::deserialize(deserializer)?;
            let calls = CALLS.replace(CALLS.get() + 1);
            if calls == 0 {
                Err(D::Error::custom("not now"))
            } else {
                Ok(Self)
            }
        }
    }

    let error = refused::<Fickle>("1");
    assert_eq!(error.kind(), Data);
    assert!(error.to_string().contains("not now"), "{error}");
}
