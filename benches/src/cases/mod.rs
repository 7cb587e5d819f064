//! What is measured.

mod encoded;
mod inline;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
pub(crate) mod name;
mod queued;
#[cfg(feature = "kafka")]
pub(crate) mod resident;
mod threads;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};
use tokio::runtime::Runtime;

use crate::driver::Case;

/// What is emitted: no key, no id of its own, nothing to allocate.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
pub(crate) struct OrderPlaced {
    pub(crate) order: u64,
    pub(crate) user: u64,
    pub(crate) total_cents: u64,
}

impl OrderPlaced {
    #[inline(always)]
    pub(crate) fn number(order: u64) -> Self {
        Self {
            order,
            user: order ^ 7,
            total_cents: 5_999,
        }
    }
}

/// Every case, each limit before what is compared with it.
pub(crate) fn all() -> Result<Vec<Case>> {
    let mut cases = inline::cases()?;
    cases.extend(threads::cases()?);
    cases.extend(queued::cases()?);
    cases.extend(encoded::cases()?);
    cases.extend(latency::cases()?);
    Ok(cases)
}

/// The cases against a broker, whose URL this is.
#[cfg(feature = "kafka")]
pub(crate) fn on_kafka(url: &str) -> Result<Vec<Case>> {
    kafka::cases(url)
}

/// One thread, so that nothing depends on where the scheduler puts a task.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

/// A bus in memory with the default settings.
fn bus(runtime: &Runtime) -> Result<Bus> {
    Ok(runtime.block_on(Bus::builder("bench").build())?)
}
