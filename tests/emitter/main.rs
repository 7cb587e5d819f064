//! The emitter rules: one test for each sentence of `docs/emitter.md`, named after it.

mod cascade;
#[allow(dead_code, reason = "its spans are for the API page")]
#[path = "../support/capture.rs"]
mod capture;
mod deadlock;
mod everywhere;
mod kit;
mod listeners;
mod off;
mod once;
mod own_queue;
mod warn;
