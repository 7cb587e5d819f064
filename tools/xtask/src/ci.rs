//! `cargo xtask ci`: what belongs before a merge, step by step.
//!
//! One target folder and one profile: what a step built serves the next.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    budget, examples, features, misuse,
    process::{self, Show, seconds},
    tally::Counts,
    test,
    workspace::{Package, Workspace},
};

/// What `cargo xtask ci` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Print the steps and run none.
    #[arg(long)]
    dry_run: bool,
}

/// Runs every step and ends with the tests' closing line, `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let steps = steps(
        &workspace.library()?,
        &features::scope(&workspace.packages()?),
    );
    if args.dry_run {
        for step in &steps {
            println!("{:<9} {}", step.name, step.line());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let mut run = Run {
        workspace,
        counts: Counts::default(),
        times: Vec::new(),
    };
    let result = steps.iter().try_for_each(|step| run.step(step));
    println!();
    for (name, time) in &run.times {
        println!("{name:<9} {:>12}", seconds(*time));
    }
    println!("{:<9} {:>12}", "together", seconds(started.elapsed()));
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    println!("{}", run.counts);
    Ok(if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Step {
    /// The kind of step; several steps may share it, and their times are added up.
    name: &'static str,
    action: Action,
}

enum Action {
    /// A cargo call whose output is shown.
    Cargo {
        args: Vec<String>,
        env: Option<(&'static str, &'static str)>,
    },
    /// An example, of which only the last line is shown, unless it fails.
    Example {
        name: &'static str,
        args: &'static [&'static str],
    },
    /// The tests, as `cargo xtask test` runs them.
    Tests,
    /// A check of this tool, with what it is about.
    Check {
        about: &'static str,
        check: fn(&Workspace) -> Result<String>,
    },
}

impl Step {
    fn cargo(name: &'static str, args: impl IntoIterator<Item: Into<String>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self {
            name,
            action: Action::Cargo { args, env: None },
        }
    }

    fn check(
        name: &'static str,
        about: &'static str,
        check: fn(&Workspace) -> Result<String>,
    ) -> Self {
        Self {
            name,
            action: Action::Check { about, check },
        }
    }

    /// The step as one would type it, or what it looks at.
    fn line(&self) -> String {
        match &self.action {
            Action::Cargo {
                args,
                env: Some((key, value)),
            } => {
                format!("{key}=\"{value}\" cargo {}", args.join(" "))
            }
            Action::Cargo { args, env: None } => format!("cargo {}", args.join(" ")),
            Action::Example { name, args } => [&[*name], *args].concat().join(" "),
            Action::Tests => "cargo xtask test".to_owned(),
            Action::Check { about, .. } => (*about).to_owned(),
        }
    }
}

/// The plan: cheap and telling steps first.
fn steps(library: &Package, scope: &[String]) -> Vec<Step> {
    let scope: Vec<&str> = scope.iter().map(String::as_str).collect();
    let mut steps = vec![
        Step::cargo("fmt", ["fmt", "--all", "--check"]),
        Step::check("misuse", "cargo xtask misuse", misuse::check),
        Step::check(
            "budget",
            "size of the transport contract",
            budget::contract_lines,
        ),
        Step::check(
            "budget",
            "cargo tree --edges normal --package tidings",
            budget::crates,
        ),
        Step::cargo("clippy", clippy(&[&scope[..], &["--all-targets"]].concat())),
        Step::check(
            "features",
            "cargo tree of each feature that builds a C library from source",
            features::vendored,
        ),
    ];
    for set in features::sets(library) {
        let mut flags = vec!["--package", &library.name, "--lib", "--no-default-features"];
        if !set.is_empty() {
            flags.extend(["--features", &set]);
        }
        steps.push(Step::cargo("features", clippy(&flags)));
    }
    // As a user's `cargo run --example` builds them.
    let defaults = ["--package", &library.name, "--examples"];
    steps.push(Step::cargo("features", clippy(&defaults)));
    steps.push(Step {
        name: "doc",
        action: Action::Cargo {
            args: [&["doc"], &scope[..], &["--no-deps"]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            env: Some(("RUSTDOCFLAGS", "-D warnings")),
        },
    });
    steps.push(Step {
        name: "test",
        action: Action::Tests,
    });
    steps.push(Step::check(
        "examples",
        "every example is run",
        |workspace| examples::check_complete(&workspace.library()?),
    ));
    steps.extend(examples::RUNS.map(|(name, args)| Step {
        name: "examples",
        action: Action::Example { name, args },
    }));
    steps
}

/// A clippy call that refuses warnings. The flag goes to the workspace's crates alone, so that
/// dependencies are not built again for it.
fn clippy(flags: &[&str]) -> Vec<String> {
    let args = ["clippy"]
        .iter()
        .chain(flags)
        .chain(&["--", "-D", "warnings"]);
    args.map(|&arg| arg.to_owned()).collect()
}

struct Run<'a> {
    workspace: &'a Workspace,
    counts: Counts,
    times: Vec<(&'static str, Duration)>,
}

impl Run<'_> {
    /// Announces a step, runs it and notes its time; an error names the step's command.
    fn step(&mut self, step: &Step) -> Result<()> {
        println!("\n=== {}: {}", step.name, step.line());
        let started = Instant::now();
        let result = self.act(&step.action);
        let time = started.elapsed();
        match self.times.last_mut().filter(|(name, _)| *name == step.name) {
            Some((_, sum)) => *sum += time,
            None => self.times.push((step.name, time)),
        }
        println!(
            "=== {}: {} in {}",
            step.name,
            verdict(&result),
            seconds(time)
        );
        result.with_context(|| format!("step `{}` failed: {}", step.name, step.line()))
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Cargo { args, env } => {
                let status = self
                    .workspace
                    .cargo_for_tests()
                    .args(args)
                    .envs(*env)
                    .status()
                    .context("cargo did not start")?;
                if !status.success() {
                    bail!("{status}");
                }
            }
            Action::Example { name, args } => {
                let mut command = examples::command(self.workspace, name)?;
                command.args(*args);
                quiet(command)?;
            }
            Action::Tests => {
                let report = test::execute(self.workspace, &test::Args::once())?;
                self.counts += report.counts;
                println!("\n{}", report.counts);
                report.verdict()?;
            }
            Action::Check { check, .. } => println!("{}", check(self.workspace)?),
        }
        Ok(())
    }
}

/// Shows the last line of what a program says, or all of it if it fails.
fn quiet(command: Command) -> Result<()> {
    let finished = process::run(command, Show::Later, |_| {})?;
    if finished.status.success() {
        let last = finished
            .tail
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty());
        println!("{}", last.map_or("(no output)", String::as_str));
        return Ok(());
    }
    for line in &finished.tail {
        println!("{line}");
    }
    bail!("{}", finished.status)
}

fn verdict(result: &Result<()>) -> &'static str {
    if result.is_ok() { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;

    fn library(features: &[&str]) -> Package {
        let features: BTreeMap<_, _> = features
            .iter()
            .map(|&name| (name.to_owned(), Vec::new()))
            .collect();
        Package {
            name: "tidings".into(),
            version: "0.1.0".into(),
            manifest_path: PathBuf::new(),
            features,
            targets: Vec::new(),
        }
    }

    #[test]
    fn the_plan_holds_what_the_readme_tells() {
        let scope = ["--workspace", "--features", "tidings/json"].map(str::to_owned);
        let plan = steps(&library(&["default", "json"]), &scope);
        let lines: Vec<_> = plan.iter().map(Step::line).collect();
        for line in [
            "cargo fmt --all --check",
            "cargo clippy --workspace --features tidings/json --all-targets -- -D warnings",
            "cargo clippy --package tidings --lib --no-default-features -- -D warnings",
            "cargo clippy --package tidings --lib --no-default-features --features json \
             -- -D warnings",
            "RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --features tidings/json --no-deps",
            "cargo xtask test",
            "cargo clippy --package tidings --examples -- -D warnings",
            "orders",
            "orders --orders 10000 --seed 7",
        ] {
            assert!(
                lines.iter().any(|found| found == line),
                "`{line}` is not in {lines:#?}"
            );
        }
    }

    #[test]
    fn a_failing_step_names_its_command_and_keeps_its_time() {
        let workspace = Workspace::locate().unwrap();
        let mut run = Run {
            workspace: &workspace,
            counts: Counts::default(),
            times: Vec::new(),
        };
        let step = Step::check("budget", "what it looks at", |_| bail!("too large"));
        let error = run.step(&step).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "step `budget` failed: what it looks at: too large"
        );
        assert_eq!(run.times.len(), 1);
    }
}
