//! The emitter rules: one test for each sentence of `docs/emitter.md`, named after it.

#[allow(dead_code, reason = "its spans are for the API page")]
#[path = "../support/capture.rs"]
mod capture;
mod cascade;
mod deadlock;
mod everywhere;
mod kit;
mod listeners;
mod off;
mod once;
mod own_queue;
mod warn;
