#![doc = include_str!("../README.md")]

mod capability;
mod consumer;
mod envelope;
mod error;
mod header;
mod id;
mod message;
mod name;
mod shadow;
mod time;
mod topology;
mod trace;
mod transport;

pub use capability::{Capabilities, Capability};
pub use consumer::{Consumer, Inbound, Origination, Position, Received, Revoked, Settle, Signal};
pub use envelope::{Attributes, Carried, Envelope, field};
pub use error::{EncodeError, ErrorKind, HeaderError, Malformed, PatternError};
pub use error::{PublishError, Reason, TransportError};
pub use header::Headers;
pub use id::EventId;
pub use message::{Encode, Encoded, Encoder, Groups, Local, Message, Origin, Payload, Receipt};
pub use message::{TryPublish, Wire};
pub use name::Name;
pub use shadow::{BoxFuture, DynBrowser, DynConsumer, DynTransport};
pub use time::Timestamp;
pub use topology::{Declare, GroupTopology, Mode, Pattern, Start, Subscribe, Topics, Topology};
pub use trace::TraceContext;
pub use transport::{Browser, CloseReport, Entry, Health, Interest, Lag, Transport};
