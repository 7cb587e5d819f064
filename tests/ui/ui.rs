//! What the derive accepts, what it refuses, and in which words. One mistake per file; the file's
//! name is the mistake, and begins with its row where `misuse` numbers it.
//!
//! After an intended change of the words: `TRYBUILD=overwrite cargo test --package tidings-ui`, then read the
//! difference. The words are those of one compiler version, so they are compared on that one only.

use std::fs;

use trybuild::TestCases;

/// Compares what a row refuses and runs what it accepts.
fn row(prefix: &str) {
    rows_of("event", prefix);
}

fn rows_of(topic: &str, prefix: &str) {
    let cases = TestCases::new();
    // With a case that runs, trybuild builds; without one it checks, and everything that an event
    // depends on would be made for both.
    cases.pass("event/pass/row_08_*.rs");
    for (folder, run) in [
        ("fail", TestCases::compile_fail as fn(&TestCases, String)),
        ("pass", TestCases::pass),
    ] {
        let folder = format!("{topic}/{folder}");
        let any = fs::read_dir(&folder)
            .expect("the folder of cases")
            .any(|file| {
                let name = file.expect("a case").file_name();
                name.to_string_lossy().starts_with(prefix)
            });
        if any {
            run(&cases, format!("{folder}/{prefix}*.rs"));
        }
    }
}

#[test]
fn row_01_unsupported_shapes() {
    row("row_01_");
}

#[test]
fn row_02_versions() {
    row("row_02_");
}

#[test]
fn row_03_keys_of_the_attribute() {
    row("row_03_");
}

#[test]
fn row_04_names() {
    row("row_04_");
}

#[test]
fn row_05_keys_and_ids() {
    row("row_05_");
}

#[test]
fn row_06_what_cannot_travel() {
    row("row_06_");
}

#[test]
fn row_07_hostile_names() {
    row("row_07_");
}

#[test]
fn row_08_generic_events() {
    row("row_08_");
}

/// What is no handler, and what is one.
#[test]
fn row_09_handlers() {
    rows_of("handler", "row_09_");
}

/// This package has the library without its feature `kafka`.
#[test]
fn row_12_a_transport_without_its_feature() {
    rows_of("transport", "row_12_");
}

#[test]
fn row_72_a_delivery_is_settled_once_by_type() {
    rows_of("handler", "row_72_");
}

#[test]
fn attributes() {
    row("attributes_");
}

#[test]
fn not_an_event() {
    row("not_");
}

/// Beside them a case that runs: with one, trybuild builds, and a generic event is checked in a
/// build only.
#[test]
fn upcasting() {
    let cases = TestCases::new();
    cases.pass("event/pass/upcast_*.rs");
    cases.compile_fail("event/fail/upcast_*.rs");
}
