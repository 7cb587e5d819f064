//! Durations as people write them in a configuration file: `"100ms"`, `"30s"`, `"15min"`.
//!
//! Used as `#[serde(with = "…::duration")]` by the policies.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&write(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text)
}

/// The text of a duration, exact, in the largest unit that needs no fraction.
pub(crate) fn write(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match UNITS
        .iter()
        .find(|unit| nanos != 0 && nanos.is_multiple_of(unit.nanos))
    {
        Some(unit) => format!("{}{}", nanos / unit.nanos, unit.name),
        None => "0s".to_owned(),
    }
}

/// Reads a whole number and its unit; `None` when either is missing or the value is too large.
fn read(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "m" => "min",
        unit => unit,
    };
    let unit = UNITS.iter().find(|known| known.name == unit)?;
    let nanos = u128::from(number.parse::<u64>().ok()?) * unit.nanos;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

struct Unit {
    name: &'static str,
    nanos: u128,
}

const UNITS: [Unit; 6] = [
    Unit {
        name: "h",
        nanos: 3_600_000_000_000,
    },
    Unit {
        name: "min",
        nanos: 60_000_000_000,
    },
    Unit {
        name: "s",
        nanos: 1_000_000_000,
    },
    Unit {
        name: "ms",
        nanos: 1_000_000,
    },
    Unit {
        name: "us",
        nanos: 1_000,
    },
    Unit {
        name: "ns",
        nanos: 1,
    },
];

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a whole number with its unit (h, min, s, ms, us or ns), such as \"30s\" or \"100ms\"",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_exactly() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(100), "100ms"),
            (Duration::from_secs(30), "30s"),
            (Duration::from_secs(900), "15min"),
            (Duration::from_secs(7_200), "2h"),
            (Duration::from_millis(1_500), "1500ms"),
            (Duration::from_nanos(1_000_001), "1000001ns"),
        ] {
            assert_eq!(write(duration), text);
            assert_eq!(read(text), Some(duration));
        }
        assert_eq!(read("15m"), read("15min"));
        assert_eq!(read("5 s"), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_missing_or_wrong_unit_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "30 parsecs",
            "-1s",
            "1.5s",
            "NaN",
            "99999999999999999999s",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(read("18446744073709551615h").is_none(), "no overflow");
    }
}
