//! The examples, as the tests' build left them: `cargo run --example` would build everything again
//! with the features of one package. That they are built with the default features alone is checked
//! apart.

use std::env::consts::EXE_EXTENSION;
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::{Package, Workspace};

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

/// An example, as the tests' build left it.
pub(crate) fn command(workspace: &Workspace, name: &str) -> Result<Command> {
    let folder = workspace.target()?.join("debug/examples");
    let program = folder.join(name).with_extension(EXE_EXTENSION);
    let mut command = Command::new(program);
    command.current_dir(workspace.root());
    Ok(command)
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
    fn a_forgotten_example_is_named() {
        assert!(check_complete(&library(&["orders", "quickstart"])).is_ok());
        let error = check_complete(&library(&["orders", "sagas"]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no run of example sagas:"), "{error}");
    }
}
