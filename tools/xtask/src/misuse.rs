//! `cargo xtask misuse`: which rows of the misuse list have a test.
//!
//! The project keeps a numbered list of bad input and misuse with the behaviour each row must
//! show. A row is covered by a test function named `row_NN_…`, or by a trial of that name on a real
//! broker, anywhere in the library's code or its tests.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The rows that must have a test today: those of the bus, of memory and of Kafka.
const ROWS: [RangeInclusive<u32>; 7] =
    [1..=29, 33..=45, 47..=63, 64..=75, 85..=85, 91..=91, 93..=93];
/// Where tests of the library live.
const FOLDERS: [&str; 4] = ["src", "tests", "derive", "transports"];

/// Prints each row with its tests; fails when a row has none.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let found = search(workspace)?;
    for (row, tests) in &found {
        for Test { name, file } in tests {
            println!("row {row:>2}  {name}  {}", file.display());
        }
    }
    println!("{}", verdict(&found)?);
    Ok(ExitCode::SUCCESS)
}

/// A line that says how many rows are covered, or an error that names those without a test.
pub(crate) fn check(workspace: &Workspace) -> Result<String> {
    verdict(&search(workspace)?)
}

type Found = BTreeMap<u32, Vec<Test>>;

#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: String,
    file: PathBuf,
}

fn search(workspace: &Workspace) -> Result<Found> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = workspace.root().join(folder);
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    let mut found = Found::new();
    for file in files {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("`{}` could not be read", file.display()))?;
        let file = file.strip_prefix(workspace.root()).unwrap_or(&file);
        for (row, name) in tests_of(&text) {
            let name = name.to_owned();
            found.entry(row).or_default().push(Test {
                name,
                file: file.to_owned(),
            });
        }
    }
    Ok(found)
}

/// The Rust files below a folder; build output is left out.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("`{}` could not be read", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn verdict(found: &Found) -> Result<String> {
    let required = ROWS.iter().cloned().flatten().count();
    let gaps: Vec<_> = ROWS
        .iter()
        .cloned()
        .flatten()
        .filter(|row| !found.contains_key(row))
        .map(|row| row.to_string())
        .collect();
    if !gaps.is_empty() {
        bail!(
            "{} of {required} rows have no test: {}; name a test `row_NN_…` for each",
            gaps.len(),
            gaps.join(", ")
        );
    }
    let tests: usize = found.values().map(Vec::len).sum();
    Ok(format!(
        "all {required} required rows are covered, by {tests} tests"
    ))
}

/// The row tests of one file: row number and function name.
///
/// Only a function under a test attribute counts, and an ignored test does not; and the name that a
/// trial is given.
fn tests_of(text: &str) -> Vec<(u32, &str)> {
    let mut tests = Vec::new();
    // What stands between the end of the item before and the current line.
    let mut attributes = String::new();
    let mut before = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with("//") {
            continue;
        }
        let above = std::mem::replace(&mut before, line);
        if let Some(test) = row_trial(above, line) {
            tests.push(test);
        } else if let Some(test) = row_function(line) {
            if is_live_test(&attributes) {
                tests.push(test);
            }
            attributes.clear();
        } else if line.is_empty() || line.ends_with('}') || line.ends_with('{') {
            attributes.clear();
        } else {
            attributes.push_str(line);
        }
    }
    tests
}

/// Reads `.trial("row_07_name", …` and `.trial_with(VARIABLE, "row_07_name", …`, which may be broken
/// into lines.
fn row_trial<'a>(above: &str, line: &'a str) -> Option<(u32, &'a str)> {
    let is_variable = |text: &str| {
        let name = text.strip_suffix(',').unwrap_or_default();
        !name.is_empty() && name.bytes().all(|it| it.is_ascii_uppercase() || it == b'_')
    };
    let name = match (
        line.strip_prefix(".trial("),
        line.strip_prefix(".trial_with("),
    ) {
        (Some(rest), _) => rest.strip_prefix('"'),
        (_, Some(rest)) => rest.split_once(", \"").map(|(_, name)| name),
        _ if above.ends_with(".trial(") || is_variable(above) => line.strip_prefix('"'),
        _ => None,
    };
    let (name, _) = name?.split_once('"')?;
    let (row, _) = name.strip_prefix("row_")?.split_once('_')?;
    Some((row.parse().ok()?, name))
}

/// Reads `fn row_07_name(` with its qualifiers: the row and the name.
fn row_function(line: &str) -> Option<(u32, &str)> {
    let (before, name) = line.split_once("fn row_")?;
    let qualifiers = ["pub", "pub(crate)", "async", "const"];
    if !before
        .split_whitespace()
        .all(|word| qualifiers.contains(&word))
    {
        return None;
    }
    let (row, _) = name.split_once('_')?;
    let start = before.len() + "fn ".len();
    let length = line[start..]
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .unwrap_or(line.len() - start);
    Some((row.parse().ok()?, &line[start..start + length]))
}

fn is_live_test(attributes: &str) -> bool {
    let test = ["#[test]", "#[test_case", "#[tokio::test"];
    test.iter().any(|start| attributes.contains(start)) && !attributes.contains("#[ignore")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_plain_and_async_tests() {
        let text = "
            #[test]
            fn row_07_hygiene() {}
            #[tokio::test(
                start_paused = true
            )]
            async fn row_43_publish_after_shutdown() -> Result<(), Error> {
                Ok(())
            }
            #[should_panic]
            #[test]
            fn row_7_again() {}
        ";
        assert_eq!(
            tests_of(text),
            [
                (7, "row_07_hygiene"),
                (43, "row_43_publish_after_shutdown"),
                (7, "row_7_again")
            ]
        );
    }

    #[test]
    fn finds_trials() {
        let text = "
            Trials::new(broker)
                .trial(\"row_22_a_wrong_host\", wrong_host)
                .trial(\"other\", other)
                .trial(
                    \"row_26_a_topic_that_is_kept_back\",
                    kept_back,
                )
                .trial_with(LISTENER, \"row_21_a_wrong_password\", |_| {
                    wrong(listener())
                })
                .trial_with(
                    LISTENER,
                    \"row_22_the_wrong_kind_of_port\",
                    |_| port(listener()),
                )
                // .trial(\"row_27_later\", later)
                .main()
            let name = \"row_28_a_text\";
        ";
        assert_eq!(
            tests_of(text),
            [
                (22, "row_22_a_wrong_host"),
                (26, "row_26_a_topic_that_is_kept_back"),
                (21, "row_21_a_wrong_password"),
                (22, "row_22_the_wrong_kind_of_port")
            ]
        );
    }

    #[test]
    fn only_live_tests_count() {
        let text = "
            fn row_01_helper() {}
            #[test]
            #[ignore = \"later\"]
            fn row_02_ignored() {}
            // #[test]
            // fn row_03_commented() {}
            #[test]
            fn other() {}
            fn row_04_after_a_test() {}
            #[test]
            fn row_x_no_number() {}
        ";
        assert_eq!(tests_of(text), []);
    }

    #[test]
    fn a_gap_is_named() {
        let mut found: Found = ROWS
            .iter()
            .cloned()
            .flatten()
            .map(|row| {
                (
                    row,
                    vec![Test {
                        name: format!("row_{row}_x"),
                        file: "a.rs".into(),
                    }],
                )
            })
            .collect();
        assert_eq!(
            verdict(&found).unwrap(),
            "all 74 required rows are covered, by 74 tests"
        );
        found.remove(&17);
        found.remove(&60);
        let error = verdict(&found).unwrap_err().to_string();
        assert!(
            error.starts_with("2 of 74 rows have no test: 17, 60;"),
            "{error}"
        );
    }
}
