//! The transport guide says what is true: its transport compiles and passes the suite, and what
//! it quotes is that transport's code.

#[allow(dead_code, reason = "an example has a main function of its own")]
#[path = "../examples/tiny/main.rs"]
mod tiny;

use std::path::Path;

use tidings_conformance::{Proof, run_cases};
use tidings_transport::Capability;

const GUIDE: &str = include_str!("../../../docs/transport-guide.md");

/// The guide's transport, and the tests of the memory transport that it shows as a model.
const SOURCES: [&str; 5] = [
    include_str!("../examples/tiny/main.rs"),
    include_str!("../examples/tiny/queues.rs"),
    include_str!("../examples/tiny/transport.rs"),
    include_str!("../examples/tiny/consume.rs"),
    include_str!("../../memory/tests/conformance.rs"),
];

#[test]
fn the_transport_of_the_guide_passes_the_suite() {
    let report = run_cases(tiny::TinyHarness, "").expect("it opens");
    assert!(report.is_ok(), "failed: {:?}\n{report}", report.failed());
    for capability in Capability::ALL {
        let declared = matches!(
            capability,
            Capability::Groups | Capability::Browse | Capability::Lag
        );
        let proven = matches!(report.proof(capability), Proof::Proven { .. });
        assert_eq!(declared, proven, "{capability}");
    }
}

#[test]
fn the_guide_quotes_code_that_is_compiled() {
    let sources = SOURCES.map(bare);
    let blocks: Vec<&str> = GUIDE
        .split("```rust\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 5, "blocks of code: {}", blocks.len());
    for block in blocks {
        // A line of three dots stands for what is left out.
        for part in block.split("// …\n") {
            let part = bare(part);
            assert!(
                sources.iter().any(|source| source.contains(&part)),
                "no file of examples/tiny has this:\n{block}"
            );
        }
    }
}

#[test]
fn every_case_that_the_guide_names_exists() {
    let report = run_cases(tiny::TinyHarness, "").expect("it opens");
    let names: Vec<&str> = report.runs().iter().map(|run| run.name).collect();
    let cases: Vec<&str> = GUIDE
        .split('`')
        .filter(|word| word.contains("::") && word.bytes().all(is_of_a_case))
        .collect();
    assert!(cases.len() >= 10, "cases named: {cases:?}");
    for case in cases {
        assert!(names.contains(&case), "there is no case {case}");
    }
}

#[test]
fn every_relative_link_of_the_guide_leads_to_a_file() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let links: Vec<&str> = GUIDE
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect();
    assert!(!links.is_empty(), "no links found");
    for link in links {
        assert!(docs.join(link).exists(), "no file at {link}");
    }
}

/// Formatting aside.
fn bare(code: &str) -> String {
    code.split_whitespace().collect()
}

fn is_of_a_case(byte: u8) -> bool {
    byte.is_ascii_lowercase() || matches!(byte, b'_' | b':')
}
