//! The examples, each run as a user would run it.

use anyhow::{Result, bail};

use crate::workspace::Package;

/// Every run: the example's name and its own arguments.
pub(crate) const RUNS: [(&str, &[&str]); 6] = [
    ("quickstart", &[]),
    ("versions", &[]),
    ("orders", &[]),
    ("orders", &["--audit"]),
    ("orders", &["--orders", "10000", "--seed", "7"]),
    ("orders", &["--input", "examples/data/orders.jsonl"]),
];

/// What needs a broker, with the test that runs it.
const WITH_A_BROKER: [(&str, &str); 1] = [("replay", "tests/replay.rs")];

/// The cargo arguments of one run.
pub(crate) fn command((name, own): (&str, &[&str])) -> Vec<String> {
    let mut args = vec!["run".to_owned(), "--example".to_owned(), name.to_owned()];
    if !own.is_empty() {
        args.push("--".to_owned());
        args.extend(own.iter().map(|&arg| arg.to_owned()));
    }
    args
}

/// Fails when an example of the library is not run.
pub(crate) fn check_complete(library: &Package) -> Result<String> {
    let examples = library
        .targets
        .iter()
        .filter(|target| target.kind == ["example"]);
    let names: Vec<_> = examples.map(|target| target.name.as_str()).collect();
    let missed: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| {
            let mut run = RUNS.iter().map(|(run, _)| run);
            let mut tested = WITH_A_BROKER.iter().map(|(tested, _)| tested);
            !run.any(|it| it == name) && !tested.any(|it| it == name)
        })
        .collect();
    if !missed.is_empty() {
        bail!(
            "no run of example {}: add it to `RUNS` in tools/xtask/src/examples.rs",
            missed.join(", ")
        );
    }
    Ok(format!("{} examples, each is run", names.len()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;
    use crate::workspace::Target;

    fn library(examples: &[&str]) -> Package {
        let target = |name: &&str| Target {
            name: (*name).to_owned(),
            kind: vec!["example".to_owned()],
        };
        Package {
            name: "tidings".into(),
            version: "0.1.0".into(),
            manifest_path: PathBuf::new(),
            features: BTreeMap::new(),
            targets: examples.iter().map(target).collect(),
        }
    }

    #[test]
    fn arguments_follow_two_dashes() {
        assert_eq!(command(("orders", &[])).join(" "), "run --example orders");
        assert_eq!(
            command(("orders", &["--audit"])).join(" "),
            "run --example orders -- --audit"
        );
    }

    #[test]
    fn a_forgotten_example_is_named() {
        assert!(check_complete(&library(&["orders", "quickstart"])).is_ok());
        let error = check_complete(&library(&["orders", "sagas"]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no run of example sagas:"), "{error}");
    }
}
