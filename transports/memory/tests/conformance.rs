//! The memory transport keeps the contract.

use std::process::ExitCode;

use tidings_conformance::{Harness, Load};
use tidings_memory::Memory;
use tidings_transport::TransportError;

struct MemoryHarness;

impl Harness for MemoryHarness {
    type Transport = Memory;

    async fn open(&self) -> Result<Memory, TransportError> {
        Ok(Memory::new())
    }

    fn resident_bound(&self, load: &Load) -> Option<usize> {
        Some((load.queue + load.window + load.publishers) * load.payload)
    }
}

fn main() -> ExitCode {
    tidings_conformance::run(MemoryHarness)
}
