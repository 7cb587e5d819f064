//! Says what a plain `cargo test` leaves out: it builds no broker's client, so it would pass over the
//! tests on a broker without a word.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::ExitCode;

use tidings_conformance::{Broker, Trials};

const MANIFEST: &str = include_str!("../Cargo.toml");

/// Packages whose tests need a broker; `cargo test` builds the root's alone.
const PACKAGES: [&str; 2] = ["transports/kafka", "tools/faults"];

fn main() -> ExitCode {
    let why = "the feature `kafka` is off: `cargo xtask test` turns it on and starts the broker";
    let mut trials = Trials::new(Broker::Absent(why.to_owned())).always(
        "the_tests_on_a_broker_are_known",
        async || {
            assert!(files().count() >= 4, "{:?}", files().collect::<Vec<_>>());
        },
    );
    if cfg!(not(feature = "kafka")) {
        let files = files().map(|name| format!("tests/{name}"));
        for left_out in files.chain(PACKAGES.map(String::from)) {
            trials = trials.trial(left_out, async |_| {});
        }
    }
    trials.main()
}

/// The test files that are built with a broker's feature only.
fn files() -> impl Iterator<Item = &'static str> {
    let tests = MANIFEST
        .split("[[")
        .filter_map(|it| it.strip_prefix("test]]"));
    let on_kafka = tests.filter(|test| {
        let mut features = test
            .lines()
            .filter(|line| line.starts_with("required-features"));
        features.any(|features| features.contains("\"kafka\""))
    });
    on_kafka.map(|test| {
        let name = test.lines().find_map(|line| line.strip_prefix("name = "));
        name.unwrap().trim_matches('"')
    })
}
