use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};
use tidings_transport::Capabilities;

use crate::cases::{self, Case};
use crate::harness::{Harness, World};
use crate::kit::{Settings, chain};
use crate::report::{CaseReport, Outcome, Report};
use crate::trial;

/// How much the suite does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each case once: a few seconds for a transport without a network.
    #[default]
    Short,
    /// Each case once, with fifty times the messages and twenty times the time limit.
    Full,
    /// The whole suite this many times at once, with four times the time limit.
    Stress(usize),
}

impl Mode {
    /// Reads `short`, `full`, `stress` (8 times) or `stress:<times>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "short" => Some(Self::Short),
            "full" => Some(Self::Full),
            "stress" => Some(Self::Stress(8)),
            _ => {
                let times = text.strip_prefix("stress:")?.parse().ok()?;
                (times > 0).then_some(Self::Stress(times))
            }
        }
    }

    fn rounds(self) -> usize {
        match self {
            Self::Short | Self::Full => 1,
            Self::Stress(times) => times,
        }
    }

    fn settings(self, limit: Duration) -> Settings {
        match self {
            Self::Short => Settings { scale: 1, limit },
            Self::Full => Settings {
                scale: 50,
                limit: limit * 20,
            },
            Self::Stress(_) => Settings {
                scale: 1,
                limit: limit * 4,
            },
        }
    }
}

/// The suite over one transport.
///
/// [`run`](crate::run) is all that most test files need.
pub struct Suite {
    world: Arc<dyn World>,
    mode: Mode,
    limit: Duration,
    threads: Option<usize>,
    only: Vec<String>,
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suite")
            .field("mode", &self.mode)
            .field("limit", &self.limit)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

impl Suite {
    /// The whole suite in the short mode, with the harness's time limit.
    #[must_use]
    pub fn new<H: Harness>(harness: H) -> Self {
        let limit = harness.time_limit();
        Self {
            world: Arc::new(harness),
            mode: Mode::Short,
            limit,
            threads: None,
            only: Vec::new(),
        }
    }

    /// Sets how many cases run at once, unless the command line does. Default: one per core. A case
    /// against a broker does little but wait.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the mode. Default: short.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the time limit of one case in the short mode. Default: the harness's.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs only cases whose name contains this text, or one of several when repeated; `""`, the
    /// default, is all of them. For [`report`](Self::report); [`main`](Self::main) takes its
    /// filters from the command line.
    #[must_use]
    pub fn only(mut self, filter: &str) -> Self {
        self.only.push(filter.to_owned());
        self
    }

    /// Runs the cases in this process, eight at a time, and returns what they found. Panics and
    /// hanging cases are contained: they fail.
    ///
    /// # Errors
    ///
    /// The text of the error with which the harness could not open its first handle.
    ///
    /// # Panics
    ///
    /// Inside an asynchronous runtime: each case makes its own.
    pub fn report(self) -> Result<Report, String> {
        let capabilities = self.capabilities()?;
        let chosen = |case: &&Case| {
            self.only.is_empty()
                || self
                    .only
                    .iter()
                    .any(|only| case.name.contains(only.as_str()))
        };
        let cases: Vec<_> = (0..self.mode.rounds())
            .flat_map(|_| cases::all().filter(chosen))
            .collect();
        let stage = self.stage(capabilities);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..cases.len().min(8) {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        stage.play(case);
                    }
                });
            }
        });
        Ok(stage.into_report())
    }

    /// Runs the cases as a test binary: arguments as `cargo test` passes them, one trial per case
    /// and round, then the table of declared against proven capabilities.
    ///
    /// The exit code tells of a failed case, of a declared capability that no case could prove in
    /// a run without filters, or of a transport that cannot be opened.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        let capabilities = match self.capabilities() {
            Ok(capabilities) => capabilities,
            Err(error) => {
                say(&format!("error: {error}\n"));
                return ExitCode::FAILURE;
            }
        };
        if let Mode::Stress(times) = self.mode {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let at_once = self.threads.unwrap_or(cores).saturating_mul(times);
            arguments.test_threads.get_or_insert(at_once);
        }
        arguments.test_threads = arguments.test_threads.or(self.threads);
        let stage = Arc::new(self.stage(capabilities));
        let rounds = self.mode.rounds();
        let trials = (1..=rounds)
            .flat_map(|round| cases::all().map(move |case| (round, case)))
            .map(|(round, case)| as_trial(&stage, case, round, rounds))
            .collect();
        let conclusion = libtest_mimic::run(&arguments, trials);
        if arguments.list {
            return ExitCode::SUCCESS;
        }
        let report = stage.report();
        say(&format!("{report}\n"));
        let unproven = report.unproven();
        if conclusion.has_failed() || unproven.is_empty() {
            return conclusion.exit_code();
        }
        for capability in unproven {
            say(&format!(
                "error: {capability} is declared, but no case could prove it\n"
            ));
        }
        ExitCode::FAILURE
    }

    fn capabilities(&self) -> Result<Capabilities, String> {
        let world = Arc::clone(&self.world);
        trial::with_runtime(self.limit, async move {
            let transport = world.open().await.map_err(|error| chain(&error))?;
            let capabilities = transport.capabilities();
            // Nothing was done with it; how it closes is the business of the cases.
            let patience = Duration::from_secs(1);
            let _ = tokio::time::timeout(patience, transport.close(patience)).await;
            Ok(capabilities)
        })
        .unwrap_or_else(|ended| Err(ended.to_string()))
        .map_err(|error: String| format!("the harness could not open the transport: {error}"))
    }

    fn stage(&self, capabilities: Capabilities) -> Stage {
        Stage {
            world: Arc::clone(&self.world),
            capabilities,
            settings: self.mode.settings(self.limit),
            alone: RwLock::new(()),
            runs: Mutex::default(),
        }
    }
}

/// Runs the suite as a test binary, in the mode that `TIDINGS_CONFORMANCE` names: `short` (the
/// default), `full`, `stress` or `stress:<times>`. See [`Suite::main`].
#[must_use]
pub fn run<H: Harness>(harness: H) -> ExitCode {
    in_named_mode(Suite::new(harness))
}

pub(crate) fn in_named_mode(suite: Suite) -> ExitCode {
    let mode = match std::env::var("TIDINGS_CONFORMANCE") {
        Err(_) => Mode::Short,
        Ok(text) => match Mode::parse(&text) {
            Some(mode) => mode,
            None => {
                say(&format!(
                    "error: TIDINGS_CONFORMANCE is {text:?}: use short, full, stress or stress:<times>\n"
                ));
                return ExitCode::FAILURE;
            }
        },
    };
    suite.mode(mode).main()
}

/// Runs the cases whose name contains `filter` (`""` is all) in this process, in the short mode.
///
/// # Errors
///
/// As [`Suite::report`].
///
/// # Panics
///
/// Inside an asynchronous runtime.
pub fn run_cases<H: Harness>(harness: H, filter: &str) -> Result<Report, String> {
    Suite::new(harness).only(filter).report()
}

/// Where cases are run and their outcomes are kept.
struct Stage {
    world: Arc<dyn World>,
    capabilities: Capabilities,
    settings: Settings,
    // Held for writing by a case that disturbs the broker of all others.
    alone: RwLock<()>,
    runs: Mutex<Vec<CaseReport>>,
}

impl Stage {
    fn play(&self, case: &'static Case) -> Outcome {
        let run = || trial::run(case, &self.world, &self.capabilities, self.settings);
        let outcome = if case.runs_alone() {
            let _all = self.alone.write().unwrap_or_else(PoisonError::into_inner);
            run()
        } else {
            let _one = self.alone.read().unwrap_or_else(PoisonError::into_inner);
            run()
        };
        let report = CaseReport {
            name: case.name,
            outcome: outcome.clone(),
        };
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(report);
        outcome
    }

    fn report(&self) -> Report {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        Report::new(self.capabilities, runs.clone())
    }

    fn into_report(self) -> Report {
        self.report()
    }
}

fn as_trial(stage: &Arc<Stage>, case: &'static Case, round: usize, rounds: usize) -> Trial {
    let name = match rounds {
        1 => case.name.to_owned(),
        _ => format!("{}#{round}", case.name),
    };
    let stage = Arc::clone(stage);
    Trial::ignorable_test(name, move || match stage.play(case) {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Ignored(reason) => Ok(Completion::ignored_with(reason)),
        Outcome::Failed(text) => Err(text.into()),
    })
}

/// A test binary speaks through its standard output; that nobody reads it is no failure.
pub(crate) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn a_mode_is_named_in_full() {
        assert_eq!(Mode::parse("full"), Some(Mode::Full));
        assert_eq!(Mode::parse("stress:3"), Some(Mode::Stress(3)));
        for wrong in ["", "Full", "stress:0", "stress:", "stress:x"] {
            assert_eq!(Mode::parse(wrong), None, "{wrong}");
        }
    }
}
