//! Event ids: compact where they are UUIDs, any text otherwise.

use std::collections::HashSet;

use proptest::prelude::*;
use tidings_envelope::{EventId, Timestamp};

#[test]
fn a_fresh_id_carries_its_time_and_survives_the_wire() {
    let time = Timestamp::from_micros(1_773_152_640_123_000);
    let id = EventId::fresh(time);
    assert_eq!(id.time(), Some(time));
    assert_eq!(EventId::from(id.to_string()), id);
    assert!(id.derived_trace().is_some());
}

#[test]
fn an_upper_case_uuid_stays_the_text_it_was() {
    let text = "0190A5B2-0000-7000-8000-000000000001";
    assert_eq!(EventId::from(text).to_string(), text);
    assert_ne!(EventId::from(text), EventId::from(text.to_lowercase()));
}

#[test]
fn near_uuids_stay_the_texts_they_were() {
    let canonical = "0190a5b2-0000-7000-8000-000000000001";
    assert!(EventId::from(canonical).time().is_some());
    for near in [
        "0190a5b2000070008000000000000001",
        "0190a5b2-0000-7000-80000-00000000001",
        "0190a5b2-0000-7000-8000-00000000000g",
        "0190a5b2-0000-7000-8000-0000000000é",
        "0190a5b2_0000-7000-8000-000000000001",
        "{190a5b2-0000-7000-8000-00000000001}",
    ] {
        let id = EventId::from(near);
        assert_eq!((id.to_string().as_str(), id.time()), (near, None));
    }
}

#[test]
fn freshness_is_no_part_of_what_an_id_is() {
    let fresh = EventId::fresh(Timestamp::now());
    let reused = fresh.clone().reused();
    assert!(fresh.is_fresh() && !reused.is_fresh());
    assert!(!EventId::from(fresh.to_string()).is_fresh(), "read back");
    assert_eq!(fresh, reused);
    assert_eq!(HashSet::from([fresh.clone(), reused]).len(), 1);
    assert_eq!(
        fresh.derived_trace(),
        EventId::from(fresh.to_string()).derived_trace()
    );
}

#[test]
fn an_opaque_id_says_nothing_else() {
    let id = EventId::from("evt_1");
    assert_eq!((id.time(), id.derived_trace()), (None, None));
    assert!(id == "evt_1" && id != "evt_2");
    assert_eq!(format!("{id:>7}|{id:?}"), "  evt_1|\"evt_1\"");
    assert_eq!(id.with_str(str::len), 5);
}

proptest! {
    #[test]
    fn every_text_comes_back(text in "\\PC{0,40}") {
        prop_assert_eq!(EventId::from(&text).to_string(), text);
    }

    #[test]
    fn every_uuid_is_compact_and_comes_back(bytes in any::<u128>()) {
        let text = uuid::Uuid::from_u128(bytes).to_string();
        let id = EventId::from(&text);
        prop_assert_eq!(id.derived_trace().is_some(), bytes != 0);
        prop_assert_eq!(id.to_string(), text);
    }
}
