use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// JSON as it comes, sound or not.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| serde_json::to_string(&number).expect("a number")),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,12}".prop_map(|text| serde_json::to_string(&text).expect("a text")),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|list| format!("[{}]", list.join(" , "))),
            prop::collection::vec(("[ab\\PC]{0,2}", inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| {
                        format!("{}:{value}", serde_json::to_string(&key).expect("a text"))
                    })
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// How many members a text has, as it is written and as it reads.
fn members(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(members).sum(),
        Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_slice::<(String, Option<f64>)>(&bytes);
        let _ = from_slice::<Value>(&bytes);
    }

    #[test]
    fn made_of_json_tokens_never_panic_nor_pass_unsound(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "\\u", "d800", "\\udc00", "1", "e9", "-",
                "null", " ", "é",
            ]),
            0..30,
        ),
    ) {
        let text = tokens.concat();
        if from_slice::<Value>(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }

    #[test]
    fn sound_json_passes_and_a_key_twice_never_does(text in json()) {
        let plain: Value = serde_json::from_str(&text).expect("made as JSON");
        // A key was lost in the map exactly if it stood there twice.
        let written = count_members(&text);
        match from_slice::<Value>(text.as_bytes()) {
            Ok(value) => {
                prop_assert_eq!(written, members(&value));
                prop_assert_eq!(value, plain);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), DecodeErrorKind::DuplicateKey);
                prop_assert!(written > members(&plain));
            }
        }
    }
}

/// Members as written: colons outside strings.
fn count_members(text: &str) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for char in text.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            ':' if !inside => count += 1,
            _ => {}
        }
    }
    count
}
