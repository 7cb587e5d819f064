//! One case on a runtime of its own, so that what it leaves behind dies with it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidings_transport::Capabilities;
use tokio::runtime::{Builder, Runtime};

use crate::cases::Case;
use crate::harness::World;
use crate::kit::{Failure, Scene, Settings};
use crate::report::{Outcome, Requirement};

/// More than the clean-up of a case may take.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// The largest body that the suite is willing to allocate.
const LARGEST: usize = 256 * 1024 * 1024;

/// Runs one case, whatever it does.
pub(crate) fn run(
    case: &Case,
    world: &Arc<dyn World>,
    capabilities: &Capabilities,
    settings: Settings,
) -> Outcome {
    let lacking = case
        .needs
        .iter()
        .find(|need| !is_met(**need, world, capabilities));
    if let Some(need) = lacking {
        return Outcome::Ignored(format!("needs {need}"));
    }
    let scene = Scene::new(Arc::clone(world), *capabilities, settings);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(text) => return Outcome::Failed(text),
    };
    let ended = within(&runtime, settings.limit, (case.run)(scene.clone()));
    let waiting_for = scene.waiting_for();
    // A clean-up that hangs is a close that hangs, for which there are cases.
    let _ = within(&runtime, CLEAN_UP, async move { scene.clean_up().await });
    runtime.shutdown_background();
    match ended {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Failure::Inapplicable(reason))) => Outcome::Ignored(reason),
        Ok(Err(Failure::Broken(text))) => {
            Outcome::Failed(format!("contract {}: {text}", case.contract))
        }
        Err(Ended::Panicked(text)) => {
            Outcome::Failed(format!("contract {}: panicked: {text}", case.contract))
        }
        Err(Ended::TooLong(limit)) => Outcome::Failed(format!(
            "contract {}: the time limit of {limit:?} passed while waiting for {waiting_for}",
            case.contract
        )),
    }
}

/// Runs a future to its end, or to its panic, or to a time limit.
pub(crate) fn with_runtime<T: Send + 'static>(
    limit: Duration,
    future: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<Result<T, String>, Ended> {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(text) => return Ok(Err(text)),
    };
    let ended = within(&runtime, limit, future);
    runtime.shutdown_background();
    ended
}

/// Why a future has no result.
#[derive(Debug)]
pub(crate) enum Ended {
    Panicked(String),
    TooLong(Duration),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::TooLong(limit) => write!(f, "no result within {limit:?}"),
        }
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime could not be built: {error}"))
}

fn within<T: Send + 'static>(
    runtime: &Runtime,
    limit: Duration,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Ended> {
    let mut task = runtime.spawn(future);
    // Polled on this thread, so that a worker that is blocked for ever cannot hold up the limit.
    let ended = runtime.block_on(async { tokio::time::timeout(limit, &mut task).await });
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Ended::Panicked(match error.try_into_panic() {
            Ok(panic) => panic_text(&*panic),
            Err(error) => error.to_string(),
        })),
        Err(_) => {
            task.abort();
            Err(Ended::TooLong(limit))
        }
    }
}

fn is_met(need: Requirement, world: &Arc<dyn World>, capabilities: &Capabilities) -> bool {
    match need {
        Requirement::Capability(capability) => capabilities.has(capability),
        Requirement::Fault(fault) => world.faults().contains(&fault),
        Requirement::ResidentBound => world.resident_bound(&crate::cases::LOAD).is_some(),
        Requirement::InProcess => !capabilities.durable,
        Requirement::SizeLimit => capabilities.max_size <= LARGEST,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("not with a text"))
}
