//! Which features are built, together and apart.

use anyhow::{Result, bail};

use crate::workspace::{Package, Workspace};

/// The end of the name of a feature that builds a C library from source. That takes minutes and shows
/// nothing about our code, so it is only checked that the feature brings the source.
const VENDORED: &str = "-vendored";

/// The crate that such a feature brings.
const SOURCES: &str = "openssl-src";

/// Flags of every cargo call that builds or runs all there is: one set, so that nothing is built
/// twice. They stand for `--all-features` without those that are vendored.
pub(crate) fn scope(packages: &[Package]) -> Vec<String> {
    let features: Vec<String> = packages
        .iter()
        .flat_map(|package| built(package).map(move |name| format!("{}/{name}", package.name)))
        .collect();
    vec![
        "--workspace".to_owned(),
        "--features".to_owned(),
        features.join(","),
    ]
}

/// No feature, each feature alone, all but each one and those that bring it: what misses a feature
/// fails in one or the other. All of them together are checked elsewhere.
pub(crate) fn sets(library: &Package) -> Vec<String> {
    let features: Vec<&str> = built(library).collect();
    let mut sets = vec![String::new()];
    sets.extend(features.iter().map(|&feature| feature.to_owned()));
    for &left_out in &features {
        let others = features.iter().copied();
        let rest: Vec<&str> = others
            .filter(|&other| other != left_out && !brings_feature(library, other, left_out))
            .collect();
        let rest = rest.join(",");
        if !sets.contains(&rest) {
            sets.push(rest);
        }
    }
    sets
}

/// Whether one feature turns another on, itself or by way of a third.
fn brings_feature(library: &Package, feature: &str, other: &str) -> bool {
    let brought = library.features.get(feature).into_iter().flatten();
    brought
        .into_iter()
        .any(|it| it == other || brings_feature(library, it, other))
}

/// Checks that each feature that is not built brings its library's source.
pub(crate) fn vendored(workspace: &Workspace) -> Result<String> {
    let mut seen = Vec::new();
    for package in workspace.packages()? {
        for feature in package.features.keys().filter(|name| is_vendored(name)) {
            let feature = format!("{}/{feature}", package.name);
            let crates = workspace.cargo_output(&[
                "tree",
                "--package",
                &package.name,
                "--features",
                &feature,
                "--edges",
                "normal,build",
                "--prefix",
                "none",
            ])?;
            if !brings(&crates, SOURCES) {
                bail!(
                    "feature `{feature}` does not bring {SOURCES}: it links the system's library"
                );
            }
            seen.push(feature);
        }
    }
    if seen.is_empty() {
        bail!("no feature ends in `{VENDORED}`");
    }
    Ok(format!("{SOURCES} comes with {}", seen.join(", ")))
}

fn built(package: &Package) -> impl Iterator<Item = &str> {
    let names = package.features.keys().map(String::as_str);
    names.filter(|name| *name != "default" && !is_vendored(name))
}

fn is_vendored(feature: &str) -> bool {
    feature.ends_with(VENDORED)
}

/// Whether a `cargo tree` without prefixes has this crate.
fn brings(tree: &str, name: &str) -> bool {
    let mut names = tree.lines().filter_map(|line| line.split(' ').next());
    names.any(|found| found == name)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn package(name: &str, features: &[&str]) -> Package {
        let features = features.iter().map(|&name| (name.to_owned(), Vec::new()));
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            manifest_path: PathBuf::new(),
            features: features.collect(),
            targets: Vec::new(),
        }
    }

    #[test]
    fn features_are_checked_alone_and_left_out_alone() {
        let names = ["default", "derive", "json", "json-vendored", "testing"];
        let expected = [
            "",
            "derive",
            "json",
            "testing",
            "json,testing",
            "derive,testing",
            "derive,json",
        ];
        assert_eq!(sets(&package("tidings", &names)), expected);
        assert_eq!(sets(&package("tidings", &["default"])), [""]);

        let mut chain = package("tidings", &["kafka", "kafka-ssl", "testing"]);
        let brings = vec!["kafka".to_owned(), "tidings-kafka/ssl".to_owned()];
        chain.features.insert("kafka-ssl".to_owned(), brings);
        let expected = [
            "",
            "kafka",
            "kafka-ssl",
            "testing",
            // Without `kafka` there is no `kafka-ssl` either: that is `testing` alone.
            "kafka,testing",
            "kafka,kafka-ssl",
        ];
        assert_eq!(sets(&chain), expected);
    }

    #[test]
    fn what_is_vendored_is_not_built() {
        let packages = [
            package("tidings", &["default", "kafka", "kafka-ssl-vendored"]),
            package("xtask", &[]),
            package("tidings-kafka", &["ssl", "ssl-vendored"]),
        ];
        let scope = scope(&packages);
        assert_eq!(
            scope,
            [
                "--workspace",
                "--features",
                "tidings/kafka,tidings-kafka/ssl"
            ]
        );
    }

    #[test]
    fn a_crate_is_found_by_its_whole_name() {
        let tree = "openssl-sys v0.9.117\nopenssl-src v300.5.4+3.5.4\ncc v1.2.0";
        assert!(brings(tree, "openssl-src"));
        assert!(!brings(tree, "openssl"));
    }
}
