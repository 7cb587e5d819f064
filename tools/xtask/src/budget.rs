//! Two budgets: what a user pulls in, and how large the transport contract is.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Distinct crates in a user's build with default features stay below this.
const CRATES: usize = 70;
/// Lines of code of the crate that a transport implements stay below this; its docs, which say
/// what every transport must keep, are not counted.
const CONTRACT_LINES: usize = 1_500;
const CONTRACT: &str = "transports/spi/src";

/// Counts the crates of a build with default features.
pub(crate) fn crates(workspace: &Workspace) -> Result<String> {
    let args = [
        "tree",
        "--edges",
        "normal",
        "--package",
        "tidings",
        "--prefix",
        "none",
    ];
    let count = distinct(&workspace.cargo_output(&args)?).len();
    if count >= CRATES {
        bail!(
            "{count} crates with default features, {CRATES} or more are too many: \
             `cargo tree --edges normal --package tidings` lists them"
        );
    }
    Ok(format!(
        "{count} crates with default features (under {CRATES})"
    ))
}

/// Counts the lines of the transport contract.
pub(crate) fn contract_lines(workspace: &Workspace) -> Result<String> {
    let folder = workspace.root().join(CONTRACT);
    let mut lines = Lines::default();
    for entry in fs::read_dir(&folder).with_context(|| format!("no folder `{CONTRACT}`"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("`{}` could not be read", path.display()))?;
            lines.count(&text);
        }
    }
    let Lines { all, code } = lines;
    if all >= CONTRACT_LINES {
        bail!(
            "{CONTRACT} has {all} lines ({code} of them code), {CONTRACT_LINES} or more are too many: \
             move what not every transport needs to its one user"
        );
    }
    Ok(format!(
        "{CONTRACT}: {all} lines, under {CONTRACT_LINES} ({code} of them code)"
    ))
}

/// The crates of a `cargo tree` without prefixes: name and version, each once.
fn distinct(tree: &str) -> BTreeSet<(&str, &str)> {
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    crates.collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    /// Every line of the files.
    all: usize,
    /// Lines that are neither blank nor a comment, and come before a file's tests.
    code: usize,
}

impl Lines {
    fn count(&mut self, text: &str) {
        self.all += text.lines().count();
        self.code += text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_per_version() {
        let tree = "tidings v0.1.0 (/w)\nsyn v2.0.1\nsyn v3.0.9\n\
                    serde v1.0.229\nserde v1.0.229 (*)\nasync-trait v0.1.92 (proc-macro)\n\n";
        let names: Vec<_> = distinct(tree).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["async-trait", "serde", "syn", "syn", "tidings"]);
    }

    #[test]
    fn comments_blanks_and_tests_are_no_code() {
        let mut lines = Lines::default();
        lines.count("//! Head.\n\nuse a;\n    // Why.\nfn b() {}\n\n#[cfg(test)]\nmod tests {}\n");
        assert_eq!(lines, Lines { all: 8, code: 2 });
    }
}
