//! `cargo xtask test`: every test of the workspace, once or many times.
//!
//! The tests are built by one cargo call, then each binary is started as `cargo test` would start
//! it, so that the figures of every binary are known and can be added up. Doc tests and
//! compile-fail tests run the compiler on each start; when tests are repeated to find flaky ones,
//! those two kinds run in the first pass only.

use std::{
    io::{self, Write},
    num::NonZeroU32,
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

use anyhow::{Result, anyhow};

use crate::{
    brokers::{self, Provided},
    features,
    process::{self, Show, command_line, seconds},
    tally::{Counts, Tally},
    units::{self, Libraries, Unit},
    workspace::Workspace,
};

/// What `cargo xtask test` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Build once, run the built tests this many times, stop at the first failure.
    ///
    /// Doc tests and compile-fail tests run the compiler each time: they run in pass 1 only.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) times: NonZeroU32,
    /// Start no brokers: tests that need one, and are not told of one by an environment variable,
    /// are skipped.
    #[arg(long)]
    pub(crate) no_brokers: bool,
    /// Arguments for every test binary, such as a name to filter by or `--nocapture`.
    #[arg(last = true, value_name = "LIBTEST ARGS")]
    pub(crate) libtest: Vec<String>,
}

impl Args {
    /// Every test, once.
    pub(crate) fn once() -> Self {
        Self {
            times: NonZeroU32::MIN,
            no_brokers: false,
            libtest: Vec::new(),
        }
    }

    /// Whether the binaries are asked to describe themselves instead of running tests.
    fn only_asks(&self) -> bool {
        self.libtest
            .iter()
            .any(|arg| ["--list", "--help", "-h"].contains(&arg.as_str()))
    }
}

/// Runs the tests and ends with the line `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let (counts, result) = match execute(workspace, args) {
        Ok(report) => (report.counts, report.verdict()),
        Err(error) => (Counts::default(), Err(error)),
    };
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    println!("{counts}");
    Ok(if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a run of the tests showed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    /// What failed and how to run it again.
    failures: Vec<String>,
}

impl Report {
    /// An error that lists what failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.failures.as_slice() {
            [] => Ok(()),
            [one] => anyhow::bail!("{one}"),
            many => anyhow::bail!(
                "{} test programs failed:\n  {}",
                many.len(),
                many.join("\n  ")
            ),
        }
    }

    fn add(&mut self, outcome: Outcome, place: &str) {
        self.counts += outcome.counts;
        self.failures
            .extend(outcome.failure.map(|failure| format!("{place}{failure}")));
    }
}

/// Builds and runs the tests. An error means that they could not be run; failed tests are in the
/// report.
pub(crate) fn execute(workspace: &Workspace, args: &Args) -> Result<Report> {
    let scope = features::scope(&workspace.packages()?);
    let units = units::build(workspace, &scope)?;
    let libraries = Libraries::find(workspace, &units)?;
    let brokers = if args.no_brokers || args.only_asks() {
        Provided::none(workspace)
    } else {
        Provided::all(workspace)?
    };
    let runner = Runner {
        workspace,
        args,
        scope,
        libraries,
        brokers,
    };
    if args.times == NonZeroU32::MIN {
        runner.once(&units)
    } else {
        runner.many(&units)
    }
}

struct Runner<'a> {
    workspace: &'a Workspace,
    args: &'a Args,
    scope: Vec<String>,
    libraries: Libraries,
    brokers: Provided,
}

impl Runner<'_> {
    /// Runs everything and shows it; a failure does not keep the rest from running.
    ///
    /// Those on a broker mostly wait: the others run beside them, first those that run the compiler.
    fn once(&self, units: &[Unit]) -> Result<Report> {
        let mut report = Report::default();
        let (on_brokers, mut others): (Vec<_>, Vec<_>) =
            units.iter().partition(|unit| unit.is_on_a_broker());
        others.sort_by_key(|unit| !unit.is_ui());
        let one_by_one = |units: Vec<&Unit>, show| -> Result<Vec<Outcome>> {
            units.iter().map(|unit| self.unit(unit, show)).collect()
        };
        thread::scope(|scope| {
            let one_by_one = &one_by_one;
            let others = scope.spawn(move || one_by_one(others, Show::AtEnd));
            let mut outcomes = one_by_one(on_brokers, Show::Live)?;
            outcomes.extend(others.join().map_err(|_| anyhow!("a thread panicked"))??);
            for outcome in outcomes {
                report.add(outcome, "");
            }
            anyhow::Ok(())
        })?;
        report.add(self.doc_tests(Show::Live)?, "");
        Ok(report)
    }

    /// Runs pass after pass and shows what fails; the first failure ends the run.
    fn many(&self, units: &[Unit]) -> Result<Report> {
        let times = self.args.times.get();
        let mut report = Report::default();
        for pass in 1..=times {
            let started = Instant::now();
            let before = report.failures.len();
            let counts = self.pass(units, pass, &mut report)?;
            let failed = report.failures.len() > before;
            println!(
                "pass {pass}/{times}: {} passed, {} failed, {} ignored in {}{}",
                counts.passed,
                counts.failed,
                counts.ignored,
                seconds(started.elapsed()),
                if failed {
                    ", stopped at the first failure"
                } else {
                    ""
                },
            );
            if failed {
                return Ok(report);
            }
            if pass == 1 && times > 1 {
                println!("  doc tests and compile-fail tests compile anew: pass 1 only");
            }
        }
        println!("all {times} passes together:");
        Ok(report)
    }

    /// Runs one pass up to its first failure.
    fn pass(&self, units: &[Unit], pass: u32, report: &mut Report) -> Result<Counts> {
        let place = format!("pass {pass}: ");
        let mut counts = Counts::default();
        for unit in units.iter().filter(|unit| pass == 1 || !unit.is_ui()) {
            let outcome = self.unit(unit, Show::Later)?;
            counts += outcome.counts;
            let failed = outcome.failure.is_some();
            report.add(outcome, &place);
            if failed {
                return Ok(counts);
            }
        }
        if pass == 1 {
            let outcome = self.doc_tests(Show::Later)?;
            counts += outcome.counts;
            report.add(outcome, &place);
        }
        Ok(counts)
    }

    fn unit(&self, unit: &Unit, show: Show) -> Result<Outcome> {
        let command = unit.command(&self.libraries, &self.args.libtest);
        self.program(&unit.label(), command, show, Tally::of_binary())
    }

    fn doc_tests(&self, show: Show) -> Result<Outcome> {
        let mut command = self.workspace.cargo_for_tests();
        command
            .arg("test")
            .args(&self.scope)
            .args(["--doc", "--no-fail-fast"]);
        if !self.args.libtest.is_empty() {
            command.arg("--").args(&self.args.libtest);
        }
        self.program("doc tests", command, show, Tally::of_doc_tests())
    }

    fn program(
        &self,
        label: &str,
        mut command: Command,
        show: Show,
        tally: Tally,
    ) -> Result<Outcome> {
        let line = command_line(&command);
        command.envs(&self.brokers.values);
        if !self.args.no_brokers {
            command.env(brokers::REQUIRED, "1");
        }
        if show == Show::Live {
            println!("\n--- {label}");
        }
        let mut tally = tally;
        let finished = process::run(command, show, |text| tally.line(text))?;
        let success = finished.status.success();
        let outcome = Outcome::judge(tally.counts(), success, self.args.only_asks()).naming(
            label,
            &line,
            &finished.status.to_string(),
        );
        if show == Show::AtEnd || outcome.failure.is_some() && show == Show::Later {
            // Together, whatever else is shown meanwhile.
            let mut out = io::stdout().lock();
            writeln!(out, "\n--- {label}")?;
            for text in &finished.tail {
                writeln!(out, "{text}")?;
            }
        }
        Ok(outcome)
    }
}

/// How one test program ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    counts: Counts,
    failure: Option<String>,
}

impl Outcome {
    /// Weighs what a program printed against how it exited.
    ///
    /// A program that ends without its result line counts as one failure, whatever its status: it
    /// crashed, or a test ended the process and took the others with it.
    fn judge(printed: Option<Counts>, success: bool, only_asked: bool) -> Self {
        let (counts, failure) = match (printed, success) {
            (Some(counts), true) if counts.failed == 0 => (counts, None),
            (Some(counts), true) => (counts, Some("reported failures, yet exited as a success")),
            (Some(counts), false) if counts.failed > 0 => (counts, Some("failed")),
            (None, true) if only_asked => (Counts::default(), None),
            (counts, _) => {
                let unnamed = Counts {
                    failed: 1,
                    ..Counts::default()
                };
                let counts = counts.unwrap_or_default() + unnamed;
                (counts, Some("ended without a full test result"))
            }
        };
        Self {
            counts,
            failure: failure.map(str::to_owned),
        }
    }

    fn naming(mut self, label: &str, command: &str, status: &str) -> Self {
        self.failure = self
            .failure
            .map(|what| format!("{label} {what} ({status}): `{command}`"));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64) -> Counts {
        Counts {
            passed,
            failed,
            ignored: 0,
        }
    }

    fn judged(printed: Option<Counts>, success: bool) -> (Counts, bool) {
        let outcome = Outcome::judge(printed, success, false);
        (outcome.counts, outcome.failure.is_some())
    }

    #[test]
    fn a_clean_result_is_a_success() {
        assert_eq!(judged(Some(counts(3, 0)), true), (counts(3, 0), false));
    }

    #[test]
    fn failed_tests_are_a_failure_whatever_the_status() {
        assert_eq!(judged(Some(counts(3, 1)), false), (counts(3, 1), true));
        assert_eq!(judged(Some(counts(3, 1)), true), (counts(3, 1), true));
    }

    #[test]
    fn a_missing_result_is_one_failure() {
        assert_eq!(judged(None, false), (counts(0, 1), true));
        assert_eq!(judged(None, true), (counts(0, 1), true));
    }

    #[test]
    fn a_crash_after_good_results_is_one_failure() {
        assert_eq!(judged(Some(counts(3, 0)), false), (counts(3, 1), true));
    }

    #[test]
    fn a_list_of_tests_has_no_result_and_is_none() {
        let asked = Args {
            libtest: vec!["--list".into()],
            ..Args::once()
        };
        assert!(asked.only_asks() && !Args::once().only_asks());
        let outcome = Outcome::judge(None, true, asked.only_asks());
        assert_eq!(
            outcome,
            Outcome {
                counts: Counts::default(),
                failure: None
            }
        );
    }

    #[test]
    fn a_report_names_each_failure_with_its_pass_and_command() {
        let mut report = Report::default();
        report.add(Outcome::judge(Some(counts(2, 0)), true, false), "pass 1: ");
        assert!(report.verdict().is_ok());
        let failed = Outcome::judge(Some(counts(1, 1)), false, false);
        report.add(
            failed.naming("tidings tests/ui", "/t/ui x", "exit status: 101"),
            "pass 2: ",
        );
        let error = report.verdict().unwrap_err().to_string();
        assert_eq!(
            error,
            "pass 2: tidings tests/ui failed (exit status: 101): `/t/ui x`"
        );
        assert_eq!(report.counts, counts(3, 1));
    }
}
