//! What the pages under `docs/` name is there: tests, cases of the suite, files, headers, reasons,
//! methods of the transport contract.

use std::fs;
use std::path::{Path, PathBuf};

use tidings::DecodeErrorKind;
use tidings::transport::field;

const ARCHITECTURE: &str = include_str!("../docs/architecture.md");
const DESIGN: &str = include_str!("../docs/design.md");
const WIRE: &str = include_str!("../docs/wire-format.md");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_test_that_the_contract_table_names_exists() {
    let named: Vec<(&str, &str)> = ARCHITECTURE
        .split('`')
        .filter_map(|quoted| quoted.split_once(".rs::"))
        .collect();
    assert!(named.len() >= 50, "{} tests are named", named.len());
    for (file, test) in named {
        let source = read(&format!("{file}.rs"));
        // A trial of a test without a harness, by its name.
        if source.contains(&format!("\"{test}\"")) {
            continue;
        }
        let (_, before) = source
            .split_once(&format!("fn {test}("))
            .map(|(before, after)| (after, before))
            .unwrap_or_else(|| panic!("{file}.rs has no test {test}"));
        let attributes = before.rsplit("\n\n").next().unwrap_or(before);
        assert!(attributes.contains("test"), "{file}.rs: {test} is no test");
    }
}

#[test]
fn every_case_of_the_suite_that_the_contract_table_names_exists() {
    let mut cases = String::new();
    for entry in fs::read_dir(root().join("transports/conformance/src/cases")).expect("a folder") {
        cases.push_str(&fs::read_to_string(entry.expect("an entry").path()).expect("text"));
    }
    let named: Vec<&str> = ARCHITECTURE
        .split("suite: ")
        .skip(1)
        .flat_map(|rest| rest.split(" |").next().unwrap_or(rest).split(", "))
        .filter_map(|case| case.split([' ', ')', ';', '\n']).next())
        .filter(|case| case.contains("::") && !case.starts_with('`'))
        .collect();
    assert!(named.len() >= 20, "{named:?}");
    for case in named {
        let (group, name) = case.split_once("::").expect("group::case");
        let list = cases
            .split("cases! { ")
            .filter(|list| list.starts_with(&format!("\"{group}\"")))
            .any(|list| list.contains(&format!(" {name} [")));
        assert!(list, "the suite has no case {case}");
    }
}

#[test]
fn every_number_of_the_contract_has_a_row() {
    let numbered = |letter: &str, count: u32| -> Vec<String> {
        (1..=count)
            .map(|number| format!("| {letter}{number} |"))
            .collect()
    };
    let all = [
        ("P", 6),
        ("D", 9),
        ("O", 7),
        ("R", 6),
        ("X", 7),
        ("V", 2),
        ("S", 3),
        ("M", 2),
    ];
    for row in all
        .into_iter()
        .flat_map(|(letter, count)| numbered(letter, count))
    {
        let rows = ARCHITECTURE.matches(&format!("\n{row}")).count();
        assert_eq!(rows, 1, "rows of {row}");
    }
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let is_path = |word: &&str| {
        word.ends_with(".rs")
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/_.".contains(&byte))
    };
    for path in ARCHITECTURE.split('`').filter(is_path) {
        let rooms = [
            "",
            "src",
            "src/pipeline",
            "transports/memory/src",
            "transports/kafka/src",
            "derive/src",
        ];
        let places = rooms.map(|room| root().join(room).join(path));
        assert!(
            places.iter().any(|place| place.exists()),
            "no file at {path}"
        );
    }
}

#[test]
fn every_method_of_the_transport_contract_is_mapped_to_both_clients() {
    let (_, tables) = DESIGN
        .split_once("\n## What stands behind the SPI\n")
        .expect("the heading");
    for (file, traits) in [
        (
            "transports/spi/src/transport.rs",
            &["Transport", "Browser"][..],
        ),
        (
            "transports/spi/src/consumer.rs",
            &["Consumer", "Settle"][..],
        ),
    ] {
        let source = read(file);
        for name in traits {
            let (_, body) = source
                .split_once(&format!("pub trait {name}: "))
                .expect(name);
            let body = body.split("\n}\n").next().unwrap_or(body);
            let methods: Vec<&str> = body
                .lines()
                .filter_map(|line| line.strip_prefix("    fn "))
                .filter_map(|line| line.split('(').next())
                .collect();
            assert!(methods.len() >= 2, "{name}: {methods:?}");
            for method in methods {
                let rows = tables.matches(&format!("\n| `{name}::{method}` |")).count();
                assert_eq!(rows, 1, "rows of {name}::{method}");
            }
        }
    }
}

#[test]
fn the_wire_page_names_every_field_header_and_reason() {
    for name in [
        field::ID,
        field::SOURCE,
        field::SPEC_VERSION,
        field::TYPE,
        field::TIME,
        field::CONTENT_TYPE,
        field::VERSION,
        field::CORRELATION,
        field::CAUSATION,
        field::TRACEPARENT,
        field::TRACESTATE,
        field::HOPS,
    ] {
        assert!(
            WIRE.contains(&format!("\n| `{name}` |")),
            "no row of field {name}"
        );
    }
    let names = read("src/pipeline/header.rs");
    let headers: Vec<&str> = names
        .split('"')
        .filter(|text| text.starts_with("tidings-"))
        .collect();
    assert!(headers.len() >= 15, "{headers:?}");
    for header in headers {
        assert!(WIRE.contains(&format!("`{header}`")), "no header {header}");
    }
    let kinds = [
        DecodeErrorKind::UnknownType,
        DecodeErrorKind::FutureVersion,
        DecodeErrorKind::Upcast,
        DecodeErrorKind::Envelope,
        DecodeErrorKind::Syntax,
        DecodeErrorKind::TooDeep,
        DecodeErrorKind::TooLarge,
        DecodeErrorKind::Utf8,
        DecodeErrorKind::Data,
        DecodeErrorKind::Empty,
        DecodeErrorKind::DuplicateKey,
        DecodeErrorKind::Number,
        DecodeErrorKind::Unavailable,
    ];
    let retry = read("src/pipeline/retry/attempts.rs");
    let (_, given_up) = retry
        .split_once("fn as_str(self) -> &'static str {")
        .expect("words");
    let given_up = given_up.split("    }\n    }").next().unwrap_or(given_up);
    let words: Vec<&str> = given_up
        .lines()
        .take_while(|line| line.trim() != "}")
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(words.len(), 5, "{words:?}");
    let reasons = kinds.map(DecodeErrorKind::as_str);
    for reason in reasons
        .iter()
        .chain(&words)
        .chain(&["crash_loop", "id_collision", "hop_limit"])
    {
        assert!(WIRE.contains(&format!("`{reason}`")), "no reason {reason}");
    }
}

#[test]
fn the_sample_of_the_wire_page_is_the_one_of_the_tests() {
    let sample = read("tests/data/order_placed_plain.json");
    assert!(WIRE.contains(&format!("```json\n{sample}\n```\n")));
    assert!(WIRE.contains(&format!(" {} bytes,", sample.len())));
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let docs = root().join("docs");
    let mut links = 0;
    for entry in fs::read_dir(&docs).expect("a folder") {
        let page = entry.expect("an entry").path();
        let text = fs::read_to_string(&page).expect("text");
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|link| !link.is_empty() && !link.contains("://"));
        for link in targets {
            links += 1;
            assert!(
                docs.join(Path::new(link)).exists(),
                "{}: no file at {link}",
                page.display()
            );
        }
    }
    assert!(links >= 5, "{links} links");
}
