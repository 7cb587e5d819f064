//! Bad input and misuse: one test or more per row of the project's list, `row_NN_…`.
//!
//! Each asserts what kind of error or dead letter comes out, the value it names, and that no event
//! was lost: everything published is completed, dead-lettered or skipped, and the bus lives on.
//! Rows 1 to 9 are the compiler's and live in `tests/ui/ui.rs`.

#![cfg(all(feature = "derive", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod bytes;
mod claims;
mod closed;
mod deadlock;
mod drops;
mod encode;
mod envelope;
mod failing;
mod foreign;
mod identity;
mod kit;
mod limits;
mod logs;
mod pressure;
mod runtime;
mod settings;
mod stuck;
