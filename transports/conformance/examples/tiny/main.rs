//! The smallest transport that keeps the contract: bounded queues in this process, and nothing
//! that it does not have to do. `docs/transport-guide.md` walks through it.
//!
//! `cargo run -p tidings-conformance --example tiny` puts it through the suite.

mod consume;
mod queues;
mod transport;

use std::process::ExitCode;

use tidings_conformance::Harness;
use tidings_transport::TransportError;

use transport::Tiny;

/// How the suite gets hold of it.
pub(crate) struct TinyHarness;

impl Harness for TinyHarness {
    type Transport = Tiny;

    async fn open(&self) -> Result<Tiny, TransportError> {
        Ok(Tiny::default())
    }
}
fn main() -> ExitCode {
    tidings_conformance::run(TinyHarness)
}
