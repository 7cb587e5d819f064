//! Tests that need a real broker, which an environment variable names.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};

use crate::harness::Harness;
use crate::suite::{self, Suite, say};

/// Set to anything but nothing, it turns a broker that is not there into a failure.
pub const REQUIRED: &str = "TIDINGS_REQUIRE_BROKERS";

/// How many cases run at once: they wait for the broker most of the time.
const AT_ONCE: usize = 8;

/// How long one trial may take. None of them comes near it.
const LIMIT: Duration = Duration::from_secs(180);

/// A broker for tests.
///
/// Tests that need one are trials: where it is absent, each is listed as *ignored* with the reason,
/// and where [`REQUIRED`] is set, each fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broker {
    /// Its URL.
    Found(String),
    /// Why there is none, and how to get one.
    Absent(String),
}

impl Broker {
    /// The broker whose URL this environment variable holds.
    #[must_use]
    pub fn named_by(variable: &str) -> Self {
        match std::env::var(variable) {
            Ok(url) if !url.is_empty() => Self::Found(url),
            _ => Self::Absent(format!(
                "{variable} is not set: `cargo xtask test` starts the broker"
            )),
        }
    }

    /// Runs the conformance suite against it, as [`run`](crate::run) does.
    #[must_use]
    pub fn suite<H: Harness>(self, harness: impl FnOnce(String) -> H) -> ExitCode {
        match self {
            Self::Found(url) => suite::in_named_mode(Suite::new(harness(url)).threads(AT_ONCE)),
            Self::Absent(_) => {
                let names = crate::cases::all().map(|case| case.name);
                let trials = names.fold(Trials::new(self), |trials, name| {
                    trials.trial(name, async |_| {})
                });
                trials.main()
            }
        }
    }
}

/// A list of tests against one broker: what `main` of a test target with `harness = false` runs.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use tidings_conformance::{Broker, Trials};
///
/// fn main() -> ExitCode {
///     Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
///         .trial("the_url_is_one", async |url: String| {
///             assert!(url.starts_with("kafka://"));
///         })
///         .main()
/// }
/// ```
#[derive(Debug)]
pub struct Trials {
    broker: Broker,
    trials: Vec<Trial>,
    skippable: usize,
}

impl Trials {
    /// No tests yet.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        Self {
            broker,
            trials: Vec::new(),
            skippable: 0,
        }
    }

    /// A test, which gets the broker's URL, on a runtime of its own with two threads. It fails by
    /// a panic.
    #[must_use]
    pub fn trial<F, Fut>(mut self, name: impl Into<String>, test: F) -> Self
    where
        F: FnOnce(String) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let broker = self.broker.clone();
        let trial = Trial::ignorable_test(name, move || match broker {
            Broker::Found(url) => {
                run(test(url))?;
                Ok(Completion::Completed)
            }
            Broker::Absent(why) if is_required() => Err(why.into()),
            Broker::Absent(why) => Ok(Completion::ignored_with(why)),
        });
        self.skippable += 1;
        self.trials.push(trial);
        self
    }

    /// As [`trial`](Self::trial), for a test that needs more than a broker, such as a way to disturb it
    /// or a listener with TLS: it is *ignored* where this environment variable, which says where that
    /// is, is not set. A broker that somebody else runs has none.
    #[must_use]
    pub fn trial_with<F, Fut>(
        mut self,
        variable: &'static str,
        name: impl Into<String>,
        test: F,
    ) -> Self
    where
        F: FnOnce(String) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let is_set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        if is_set || matches!(self.broker, Broker::Absent(_)) {
            return self.trial(name, test);
        }
        self.trials.push(Trial::ignorable_test(name, move || {
            Ok(Completion::ignored_with(format!(
                "{variable} is not set: a broker that `cargo xtask` starts has it"
            )))
        }));
        self
    }

    /// A test that needs no broker, beside those that do.
    #[must_use]
    pub fn always<F, Fut>(mut self, name: impl Into<String>, test: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let trial = Trial::test(name, move || Ok(run(test())?));
        self.trials.push(trial);
        self
    }

    /// Runs them, with arguments as `cargo test` passes them.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(AT_ONCE);
        let count = self.skippable;
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if let (Broker::Absent(why), false, false) = (&self.broker, arguments.list, is_required())
            && count > 0
        {
            say(&format!("SKIPPED: {count} tests need a broker; {why}\n"));
        }
        conclusion.exit_code()
    }
}

/// Runs a test on a runtime of its own.
fn run(test: impl Future<Output = ()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, test).await });
    // What a test leaves behind may block.
    runtime.shutdown_background();
    ended.map_err(|_| format!("the time limit of {LIMIT:?} passed"))
}

fn is_required() -> bool {
    std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_broker_says_how_to_get_one() {
        let Broker::Absent(why) = Broker::named_by("TIDINGS_TEST_NO_SUCH_BROKER") else {
            panic!("a broker that nobody named");
        };
        assert_eq!(
            why,
            "TIDINGS_TEST_NO_SUCH_BROKER is not set: `cargo xtask test` starts the broker"
        );
    }
}
