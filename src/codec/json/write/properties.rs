use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::codec::json::from_slice;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..40)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

proptest! {
    #[test]
    fn is_written_as_serde_json_does_and_read_back(value in value()) {
        let bytes = to_bytes(&value).expect("sound");
        prop_assert_eq!(&bytes[..], &serde_json::to_vec(&value).expect("sound")[..]);
        prop_assert_eq!(
            from_slice::<Value>(&bytes).expect("sound").to_string(),
            serde_json::from_slice::<Value>(&bytes).expect("sound").to_string()
        );
    }
}
