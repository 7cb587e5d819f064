//! Timestamps: every moment has a text that reads back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tidings_envelope::Timestamp;

#[test]
fn extremes_neither_panic_nor_overflow() {
    for micros in [i64::MIN, -1, 0, i64::MAX] {
        assert!(!Timestamp::from_micros(micros).to_string().is_empty());
    }
    assert!("10000-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    assert_eq!(
        Timestamp::from_micros(i64::MAX).saturating_add(Duration::MAX),
        Timestamp::from_micros(i64::MAX)
    );
}

#[test]
fn beyond_what_has_a_text_lies_the_nearest_that_has_one() {
    for (micros, text) in [
        (i64::MIN, "-009999-01-02T01:59:59Z"),
        (i64::MAX, "9999-12-30T22:00:00.999999Z"),
    ] {
        let time = Timestamp::from_micros(micros);
        assert_eq!(time.to_string(), text);
        assert_eq!(text.parse(), Ok(time));
        assert_eq!(Timestamp::from_micros(time.as_micros()), time);
    }
}

#[test]
fn every_form_of_rfc_3339_is_read_and_no_other() {
    for text in [
        "2026-03-10T14:24:00.5Z",
        "2026-03-10T14:24:00.500000Z",
        "2026-03-10T14:24:00.500000000Z",
        "2026-03-10t14:24:00.5z",
        "2026-03-10T16:24:00.5+02:00",
    ] {
        let time = Timestamp::from_micros(1_773_152_640_500_000);
        assert_eq!(text.parse(), Ok(time), "{text}");
    }
    let leap = "2026-06-30T23:59:60Z".parse::<Timestamp>();
    assert_eq!(
        leap,
        "2026-06-30T23:59:59Z".parse(),
        "leap seconds count twice"
    );
    for bad in [
        "",
        "yesterday",
        "2026-03-10T14:24:00.Z",
        "2026-03-10T14:24:00",
        "2026-13-10T14:24:00Z",
        "2026-02-29T14:24:00Z",
        "2026-03-10T24:24:00Z",
        "2026-03-10T14:2x:00Z",
        "+026-03-10T14:24:00Z",
        "2026-03-10T14:24:0éZ",
    ] {
        let error = bad.parse::<Timestamp>().expect_err(bad);
        assert!(error.to_string().contains("RFC 3339"), "{error}");
    }
}

#[test]
fn clocks_of_the_system_are_taken_over() {
    let micro = Duration::from_micros(1);
    for (time, micros) in [(UNIX_EPOCH + micro, 1), (UNIX_EPOCH - micro, -1)] {
        assert_eq!(Timestamp::from(time).as_micros(), micros);
    }
    let before = SystemTime::now();
    assert!(Timestamp::now() >= Timestamp::from(before));
}

proptest! {
    #[test]
    fn every_moment_comes_back(micros in any::<i64>()) {
        let time = Timestamp::from_micros(micros);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn the_quick_writer_agrees_with_the_general_one(
        micros in -100_000_000_000_000_000_i64..253_402_207_200_999_999,
        zeros in 0_u32..7,
    ) {
        let micros = micros / 10_i64.pow(zeros) * 10_i64.pow(zeros);
        let general = jiff::Timestamp::from_microsecond(micros).expect("within its range");
        prop_assert_eq!(Timestamp::from_micros(micros).to_string(), general.to_string());
    }

    #[test]
    fn the_quick_reader_agrees_with_the_general_one(
        text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,9})?Z?"
    ) {
        let general = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
        let ours = text.parse::<Timestamp>().map(Timestamp::as_micros);
        prop_assert_eq!(ours.ok(), general.ok());
    }
}
