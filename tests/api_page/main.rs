//! Every line of the API page compiles and works, and what follows a handler follows it.

#[path = "../support/capture.rs"]
mod capture;
mod context;
mod emits;
mod handlers;
mod kit;
mod lifecycle;
mod listeners;
mod process;
mod telemetry;
mod waiting;
