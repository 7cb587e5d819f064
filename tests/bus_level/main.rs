//! What the bus promises above any transport, run once per URL: in memory as it is, and in memory
//! with everything encoded as on a broker.
//!
//! The conformance suite proves transports; it does not know the bus, so these cases are here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod batches;
mod dead_letters;
mod dedup;
mod failures;
mod foreign;
mod groups;
mod kit;
mod lifecycle;
mod order;
mod races;
mod reordering;
