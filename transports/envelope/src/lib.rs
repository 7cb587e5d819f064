#![doc = include_str!("../README.md")]

mod envelope;
mod error;
mod header;
mod id;
mod name;
mod time;
mod trace;

pub use envelope::{Attributes, Carried, Envelope, field};
pub use error::{HeaderError, Malformed};
pub use header::Headers;
pub use id::EventId;
pub use name::Name;
pub use time::Timestamp;
pub use trace::TraceContext;
