use std::collections::{BTreeMap, HashMap};

use serde::ser::{Error, SerializeMap};
use serde::{Deserialize, Serializer};
use serde_json::value::RawValue;

use super::*;
use crate::codec::json::from_slice;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kinds {
    text: String,
    number: f64,
    small: f32,
    maybe: Option<f64>,
    list: Vec<f64>,
    pair: (i8, f64),
    map: BTreeMap<String, f64>,
    shape: Shape,
    newtype: Newtype,
    unit: (),
    big: u128,
    letter: char,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Rectangle(f64, f64),
    Ellipse { a: f64, b: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(f64);

fn kinds() -> Kinds {
    Kinds {
        text: "a\0\"\u{7f}é".to_owned(),
        number: 0.1,
        small: 0.1,
        maybe: None,
        list: vec![1.0, -0.0],
        pair: (-1, 2.5),
        map: BTreeMap::from([("k.1".to_owned(), 1.0)]),
        shape: Shape::Point,
        newtype: Newtype(1e300),
        unit: (),
        big: u128::MAX,
        letter: '\u{1}',
    }
}

#[track_caller]
fn refused<T: Serialize + ?Sized>(value: &T) -> String {
    let error = to_bytes(value).expect_err("must be refused");
    std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
        error.source()
    })
    .map(ToString::to_string)
    .collect::<Vec<_>>()
    .join(": ")
}

#[test]
fn writes_what_serde_json_writes_and_reads_it_back() {
    for shape in [
        Shape::Point,
        Shape::Circle(1.5),
        Shape::Rectangle(1.0, 2.0),
        Shape::Ellipse { a: 1.0, b: 2.0 },
    ] {
        let value = Kinds {
            shape,
            maybe: Some(1.0),
            ..kinds()
        };
        let bytes = to_bytes(&value).expect("sound");
        assert_eq!(bytes, serde_json::to_vec(&value).expect("sound"));
        assert_eq!(from_slice(&bytes), Ok(value));
    }
}

#[test]
fn what_is_not_finite_is_refused_with_its_path() {
    type Set = fn(&mut Kinds, f64);
    let cases: [(&str, Set); 10] = [
        ("number", |kinds, value| kinds.number = value),
        ("small", |kinds, value| kinds.small = value as f32),
        ("maybe", |kinds, value| kinds.maybe = Some(value)),
        ("list[1]", |kinds, value| kinds.list[1] = value),
        ("pair[1]", |kinds, value| kinds.pair.1 = value),
        ("map.k.1", |kinds, value| {
            kinds.map.insert("k.1".to_owned(), value);
        }),
        ("shape.Circle", |kinds, value| {
            kinds.shape = Shape::Circle(value)
        }),
        ("shape.Rectangle[1]", |kinds, value| {
            kinds.shape = Shape::Rectangle(0.0, value)
        }),
        ("shape.Ellipse.b", |kinds, value| {
            kinds.shape = Shape::Ellipse { a: 0.0, b: value }
        }),
        ("newtype", |kinds, value| kinds.newtype.0 = value),
    ];
    for (path, set) in cases {
        for (value, name) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut kinds = kinds();
            set(&mut kinds, value);
            let text = refused(&kinds);
            let says = format!(
                "`{path}` of {} is {name}, which is not a finite number",
                type_name::<Kinds>()
            );
            assert!(text.starts_with(&says), "{text}");
        }
    }
    assert!(refused(&f64::NAN).contains("f64 is NaN, which is not a finite number"));
    // serde_json writes null for all of these.
    assert_eq!(serde_json::to_string(&f64::NAN).expect("null"), "null");
}

#[test]
fn a_key_that_is_not_finite_is_refused() {
    struct Keyed;
    impl Serialize for Keyed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_key(&f32::NAN)?;
            map.serialize_value(&1)?;
            map.end()
        }
    }
    assert!(refused(&Keyed).contains("not a finite number"));
}

#[test]
fn a_failing_serializer_is_an_error_with_a_bounded_text() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("no\x1b".repeat(1_000_000)))
        }
    }
    let text = refused(&BTreeMap::from([("a", [Fails])]));
    assert!(
        text.starts_with("`a[0]` of ") && text.contains("cannot be encoded: no\\u{1b}no"),
        "{text}"
    );
    assert!(text.len() < 2_048, "{}", text.len());
    let text = refused(&HashMap::from([(vec![1], 1)]));
    assert!(text.contains("key must be a string"), "{text}");
}

#[test]
fn a_panicking_serializer_is_an_error_with_a_bounded_text() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("{}", "poisoned ".repeat(1_000_000))
        }
    }
    let text = refused(&[Panics]);
    assert!(
        text.contains("Panics") && text.contains("panicked: poisoned poisoned"),
        "{text}"
    );
    assert!(text.len() < 2_048, "{}", text.len());
}

#[test]
fn a_type_that_swallows_an_error_is_refused() {
    struct Swallows;
    impl Serialize for Swallows {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            let _ = map.serialize_entry("a", &f64::NAN);
            map.end()
        }
    }
    assert!(refused(&Swallows).contains("not a finite number"));
}

#[test]
fn what_no_consumer_would_read_is_refused() {
    #[derive(Serialize)]
    struct Nested {
        inner: Option<Box<Nested>>,
    }
    let nested = |depth: usize| {
        (1..depth).fold(Nested { inner: None }, |inner, _| Nested {
            inner: Some(Box::new(inner)),
        })
    };
    assert!(to_bytes(&nested(64)).is_ok());
    let text = refused(&nested(65));
    assert!(
        text.contains("deeper than 64") && text.contains("`inner.inner."),
        "{text}"
    );

    #[derive(Serialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        more: BTreeMap<String, u8>,
    }
    assert!(
        to_bytes(&Flat {
            id: 1,
            more: BTreeMap::from([("ie".to_owned(), 2)])
        })
        .is_ok()
    );
    let text = refused(&Flat {
        id: 1,
        more: BTreeMap::from([("id".to_owned(), 2)]),
    });
    assert!(text.contains("\"id\" stands twice"), "{text}");
}

#[test]
fn a_variant_with_fields_counts_as_two_levels() {
    #[derive(Serialize)]
    enum Deep {
        End,
        Tuple(Box<Deep>, u8),
        Struct { inner: Box<Deep> },
        Newtype(Box<Deep>),
    }
    type Wrap = fn(Deep) -> Deep;
    let wraps: [(Wrap, usize); 3] = [
        (|deep| Deep::Tuple(Box::new(deep), 0), 32),
        (
            |deep| Deep::Struct {
                inner: Box::new(deep),
            },
            32,
        ),
        (|deep| Deep::Newtype(Box::new(deep)), 64),
    ];
    for (wrap, most) in wraps {
        let nested = |depth: usize| (0..depth).fold(Deep::End, |deep, _| wrap(deep));
        let bytes = to_bytes(&nested(most)).expect("64 levels");
        assert!(from_slice::<serde_json::Value>(&bytes).is_ok());
        assert!(refused(&nested(most + 1)).contains("deeper than 64"));
    }
}

#[test]
fn raw_json_is_kept_byte_for_byte_and_checked() {
    #[derive(Serialize)]
    struct Holder {
        raw: Box<RawValue>,
    }
    let holder = |json: &str| Holder {
        raw: RawValue::from_string(json.to_owned()).expect("JSON"),
    };
    let exact = r#"{ "n": 123456789012345678901234567890.50 }"#;
    assert_eq!(
        to_bytes(&holder(exact)).expect("sound"),
        format!(r#"{{"raw":{exact}}}"#)
    );
    assert!(refused(&holder(r#"{"a":1,"a":2}"#)).contains("twice"));
    assert!(refused(&holder("[1e999]")).contains("range of f64"));
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(to_bytes(&holder(&deep(63))).is_ok());
    assert!(refused(&holder(&deep(64))).contains("more than 64"));
}
