//! What `#[derive(Event)]` writes, at work.

#![cfg(all(feature = "derive", feature = "json"))]

use serde::{Deserialize, Serialize};
use tidings::{Body, DecodeError, Event, Lineage};

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlacedV1 {
    order: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, upcast_from = OrderPlacedV1)]
struct OrderPlacedV2 {
    order_id: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    name = "order.placed",
    version = 3,
    key = order_id,
    id = (order_id, revision),
    upcast_from = OrderPlacedV2
)]
struct OrderPlaced {
    order_id: u64,
    revision: u8,
}

impl From<OrderPlacedV1> for OrderPlacedV2 {
    fn from(old: OrderPlacedV1) -> Self {
        Self {
            order_id: old.order,
        }
    }
}

impl TryFrom<OrderPlacedV2> for OrderPlaced {
    type Error = String;

    fn try_from(old: OrderPlacedV2) -> Result<Self, String> {
        match old.order_id.parse() {
            Ok(order_id) => Ok(Self {
                order_id,
                revision: 0,
            }),
            Err(_) => Err(format!("{:?} is no order number", old.order_id)),
        }
    }
}

fn read<E: Event>(version: u32, json: &str) -> Result<E, DecodeError> {
    E::from_version(version, &Body::new(json.as_bytes()))
}

#[test]
fn reads_every_version_it_descends_from() {
    let expected = OrderPlaced {
        order_id: 7,
        revision: 0,
    };
    for (version, body) in [
        (1, r#"{"order":"7"}"#),
        (2, r#"{"order_id":"7"}"#),
        (3, r#"{"order_id":7,"revision":0}"#),
    ] {
        let event: OrderPlaced = read(version, body).expect(body);
        assert_eq!(event, expected, "v{version}");
    }
}

#[test]
fn a_body_is_read_as_the_version_it_claims() {
    assert!(read::<OrderPlaced>(1, r#"{"order_id":"7"}"#).is_err());
    assert!(read::<OrderPlaced>(3, r#"{"order":"7"}"#).is_err());
}

#[test]
fn a_newer_version_is_refused_whatever_it_holds() {
    let body = r#"{"order_id":7,"revision":0,"order":"7"}"#;
    let error = read::<OrderPlaced>(4, body).expect_err("v4");
    let text = error.to_string();
    assert!(
        text.contains("order.placed") && text.contains('4') && text.contains('3'),
        "{text}"
    );
    // A type without upcasting says the same of its future.
    let error = read::<OrderPlacedV1>(2, body).expect_err("v2");
    assert!(error.to_string().contains('2'), "{error}");
}

#[test]
fn a_version_below_the_oldest_is_refused() {
    let error = read::<OrderPlaced>(0, r#"{"order":"7"}"#).expect_err("v0");
    assert!(error.to_string().contains("order.placed"), "{error}");
}

#[test]
fn an_upcaster_that_refuses_is_an_error_with_its_words() {
    let error = read::<OrderPlaced>(1, r#"{"order":"seven"}"#).expect_err("no number");
    assert!(
        with_causes(&error).contains("\"seven\" is no order number"),
        "{error}"
    );
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[test]
fn the_lineage_is_the_chain() {
    let lineage = Lineage::of::<OrderPlaced>();
    assert!(lineage.versions().eq([3, 2, 1]));
    assert_eq!(lineage.check(), Ok(()));
}

#[test]
fn keys_and_ids_are_texts_of_fields() {
    let event = OrderPlaced {
        order_id: 7,
        revision: 2,
    };
    assert_eq!(event.key().as_deref(), Some("7"));
    assert_eq!(event.natural_id().as_deref(), Some("order.placed:7:2"));
    let event = OrderPlacedV1 { order: "7".into() };
    assert_eq!((event.key(), event.natural_id()), (None, None));
}
