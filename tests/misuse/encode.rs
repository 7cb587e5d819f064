//! Rows 36, 37: values without an encoding.

use std::error::Error;

use serde::{Deserialize, Serialize, Serializer};
use tidings::memory::Memory;
use tidings::transport::Reason;
use tidings::{Bus, Event, PublishError};

use crate::kit::{Calls, assert_conserved, dead, settled, shop, shop_with};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "sensor.read", version = 1)]
struct Reading {
    values: Vec<f64>,
}

fn reading(value: f64) -> Reading {
    Reading {
        values: vec![1.0, value],
    }
}

/// Everything the error says, all levels.
fn told<E>(error: &PublishError<E>) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

async fn encoded() -> Bus {
    shop_with(Memory::new().encoded(true), |bus| bus).await.1
}

#[tokio::test]
async fn row_36_numbers_that_are_not_finite_are_refused_naming_the_field() {
    let bus = encoded().await;
    bus.on(async |_: Reading| {});
    for (value, named) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        let error = bus.emit(reading(value)).await.unwrap_err();
        assert!(error.is_not_published());
        assert!(matches!(error.reason(), Reason::Encode(error) if error.is_non_finite()));
        let told = told(&error);
        assert!(
            told.contains("`values[1]`") && told.contains(&format!("is {named},")),
            "{told}"
        );
        assert_eq!(error.event().values[0], 1.0, "handed back");
        let error = bus.try_emit(reading(value)).unwrap_err();
        assert!(matches!(error.reason(), Reason::Encode(error) if error.is_non_finite()));
    }
    bus.emit(reading(2.5)).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

/// Where nothing is encoded such a value is as good as another: handled, and kept when it fails.
#[tokio::test(start_paused = true)]
async fn row_36_in_memory_such_a_value_is_handled_and_kept_when_it_fails() {
    let (_, bus) = shop().await;
    let calls = Calls::default();
    bus.with(calls.clone())
        .on(async |calls: Calls, reading: Reading| {
            calls.one();
            assert!(reading.values[1].is_nan());
            if reading.values[0] == 1.0 {
                Err("declined")
            } else {
                Ok(())
            }
        });
    bus.emit(reading(f64::NAN)).await.unwrap();
    bus.emit(Reading {
        values: vec![2.0, f64::NAN],
    })
    .await
    .unwrap();
    settled(&bus).await;
    let letters = dead(&bus).await;
    assert_eq!((letters.len(), calls.count()), (1, 3 + 1));
    assert_eq!(
        (letters[0].reason(), letters[0].name()),
        ("exhausted", Some("sensor.read"))
    );
    assert_conserved(&bus, 2);
}

#[derive(Debug, Clone, Deserialize, Event)]
#[event(name = "order.odd", version = 1)]
struct Odd {
    how: String,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.how {
            "fails" => Err(serde::ser::Error::custom("no\nform with password=hunter2")),
            "panics" => panic!("out of order, password=hunter2"),
            _ => serializer.collect_map([("how", &self.how)]),
        }
    }
}

fn odd(how: &str) -> Odd {
    Odd { how: how.into() }
}

#[tokio::test]
async fn row_37_a_serializer_that_fails_or_panics_is_an_encode_error() {
    let bus = encoded().await;
    bus.on(async |_: Odd| {});
    for (how, named) in [
        ("fails", "no\\u{a}form"),
        ("panics", "panicked: out of order"),
    ] {
        let error = bus.emit(odd(how)).await.unwrap_err();
        assert!(error.is_not_published());
        assert!(matches!(error.reason(), Reason::Encode(error) if !error.is_non_finite()));
        let told = told(&error);
        assert!(told.contains("Odd") && told.contains(named), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(error.event().how, how, "handed back");
        assert!(bus.try_emit(odd(how)).unwrap_err().is_not_published());
    }
    bus.emit(odd("sound")).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

#[tokio::test(start_paused = true)]
async fn row_37_in_memory_a_value_that_cannot_be_encoded_is_still_dead_lettered() {
    let (_, bus) = shop().await;
    bus.on(async |event: Odd| {
        if event.how == "sound" {
            Ok(())
        } else {
            Err("declined")
        }
    });
    // An id of one's own makes dedup ask for the payload, too.
    for how in ["fails", "panics", "sound"] {
        bus.emit(odd(how)).id(how).await.unwrap();
    }
    settled(&bus).await;
    let letters = dead(&bus).await;
    let mut ids: Vec<_> = letters
        .iter()
        .map(|letter| letter.id().unwrap().to_string())
        .collect();
    // Without a key there is no order.
    ids.sort();
    assert_eq!(ids, ["fails", "panics"]);
    assert!(letters.iter().all(|letter| letter.reason() == "exhausted"));
    assert_conserved(&bus, 3);
}
