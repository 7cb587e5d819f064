//! One delivery, end to end, in a fixed order.
//!
//! decode and upcast → trace → dedup → concurrency and key lane → user middleware → deadline →
//! handler → classify → retry → dead letter → settle. The worker of a group owns lanes and
//! settling; [`deliver`] is everything between, one async fn per handler.

mod attempt;
mod budget;
mod dead;
mod dedup;
mod deliver;
mod duration;
mod first;
mod gate;
mod hash;
mod header;
mod intake;
mod job;
mod lanes;
mod middleware;
mod pause;
mod retry;
mod slots;
mod trace;
mod watchdog;
mod worker;

pub use dead::{DeadLetter, DeadLetters, Reason as DeadReason};
pub use dedup::DedupPolicy;
pub use middleware::{DeliveryInfo, Middleware, Next, NextPublish};
pub use pause::PausePolicy;
pub use retry::RetryPolicy;

pub(crate) use budget::RetryBudget;
pub(crate) use dedup::Dedup;
pub(crate) use deliver::deliver;
pub(crate) use first::{Again, Agains, Begun, First, Once, Source, begin, begin_encoded};
pub(crate) use gate::Gate;
pub(crate) use hash::stable_hash;
pub(crate) use job::{Delivered, Finished, Job, Verdict};
pub(crate) use slots::Slots;
pub(crate) use trace::tracing_is_on;
pub(crate) use watchdog::{Pulse, Watchdog, Watched};
pub(crate) use worker::{Closed, Command, Ended, Run, Worker};
