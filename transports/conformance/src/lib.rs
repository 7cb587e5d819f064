//! The conformance suite: one list of properties for every transport of the tidings event bus.
//!
//! A transport proves itself from its own `tests/conformance.rs`, a test target with
//! `harness = false`:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use tidings_conformance::Harness;
//! use tidings_memory::Memory;
//! use tidings_transport::TransportError;
//!
//! struct MemoryHarness;
//!
//! impl Harness for MemoryHarness {
//!     type Transport = Memory;
//!
//!     async fn open(&self) -> Result<Memory, TransportError> {
//!         Ok(Memory::new())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     tidings_conformance::run(MemoryHarness)
//! }
//! ```
//!
//! # Trials
//!
//! Each case is one property and one trial: `cargo test --test conformance -- order::` runs a
//! group, `-- --list` lists them. A case works on handles, topics and groups of its own, on a
//! runtime of its own and on the real clock, within a time limit; a failure names the number of
//! the delivery contract and what was seen, a time-out what was waited for. Whatever becomes of a
//! case, its groups are detached and its handles closed.
//!
//! # Capabilities
//!
//! A case that needs a flag which the transport does not declare, or a hook which the harness does
//! not have, is *ignored* with that reason, never passed. After the trials a table sets declared
//! against proven capabilities; a declared one that no case could prove fails a run without
//! filters.
//!
//! # Modes
//!
//! `TIDINGS_CONFORMANCE` is `short` (the default), `full` (fifty times the messages), `stress`
//! (the whole suite eight times at once) or `stress:<times>`. [`Suite`] is the same by code;
//! [`run_cases`] runs cases in process and hands back a [`Report`].
//!
//! # Brokers
//!
//! A transport to a broker runs the suite through [`Broker::suite`], and its other tests as
//! [`Trials`]: without the broker they are ignored with the reason, or fail where
//! [`REQUIRED`] is set, as it is in CI.
//!
//! # What is proven by type
//!
//! A message cannot be settled twice (D5): settling takes it by value.
//!
//! ```compile_fail,E0382
//! fn twice(received: tidings_transport::Received) {
//!     received.ack();
//!     received.ack();
//! }
//! ```
//!
//! And a consumer cannot be closed twice:
//!
//! ```compile_fail,E0382
//! use std::time::Duration;
//!
//! async fn twice(consumer: impl tidings_transport::Consumer) {
//!     let _ = consumer.close(Duration::ZERO).await;
//!     let _ = consumer.close(Duration::ZERO).await;
//! }
//! ```

mod broker;
mod cases;
mod harness;
mod kit;
mod report;
mod suite;
mod trial;

pub use broker::{Broker, REQUIRED, Trials};
pub use harness::{Fault, FaultyHandle, Harness, Injected, Injector, Load};
pub use report::{CaseReport, Outcome, Proof, Report, Requirement};
pub use suite::{Mode, Suite, run, run_cases};
