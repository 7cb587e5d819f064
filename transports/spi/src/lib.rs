//! What a transport of the tidings event bus implements.
//!
//! A transport moves [`Message`]s from publishers to the consumers of named groups, and settles
//! what it delivered. The bus above it owns everything else: decoding, deduplication, order per
//! key inside a process, retries, dead letters. So this crate stays small: a message and its
//! [`Envelope`], the [`Transport`] and [`Consumer`] traits, the [`Capabilities`] in which
//! transports differ, and the errors.
//!
//! Write a transport against this crate alone, then prove it with `tidings-conformance` from its
//! own `tests/`. The numbers in the Contract sections (P1, D2, …) are those of the delivery
//! contract in `docs/architecture.md`.
//!
//! # The life of a message
//!
//! 1. The bus calls [`Transport::declare`] with every topic and group it knows.
//! 2. [`Transport::try_publish`] is asked first; a transport that would have to wait hands the
//!    message back and the bus awaits [`Transport::publish`].
//! 3. [`Transport::subscribe`] opens a [`Consumer`]; the bus pulls batches of [`Received`].
//! 4. Each [`Received`] is settled once, by value: [`Received::ack`] or [`Received::release`].
//!    One that is dropped unsettled is given back.

mod capability;
mod consumer;
mod envelope;
mod error;
mod header;
mod id;
mod message;
mod name;
mod pattern;
mod payload;
mod shadow;
mod subscribe;
mod time;
mod topology;
mod trace;
mod transport;

pub use capability::{Capabilities, Capability};
pub use consumer::{Consumer, Inbound, Origination, Position, Received, Revoked, Settle, Signal};
pub use envelope::{Carried, Envelope, Malformed, field};
pub use error::{ErrorKind, PublishError, Reason, TransportError};
pub use header::{HeaderError, Headers};
pub use id::EventId;
pub use message::{Interest, Message, Origin, Receipt, TryPublish, Wire};
pub use name::Name;
pub use pattern::{Pattern, PatternError};
pub use payload::{Encode, EncodeError, Encoded, Local, Payload};
pub use shadow::{BoxFuture, DynBrowser, DynConsumer, DynTransport};
pub use subscribe::{Mode, Start, Subscribe, Topics};
pub use time::Timestamp;
pub use topology::{Declare, GroupTopology, Topology};
pub use trace::TraceContext;
pub use transport::{Browser, CloseReport, Entry, Health, Lag, Transport};
