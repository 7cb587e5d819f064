#![doc = include_str!("../README.md")]

mod capability;
mod consumer;
mod error;
mod message;
mod shadow;
mod topology;
mod transport;

pub use capability::{Capabilities, Capability};
pub use consumer::{
    Batch, Consumer, Inbound, Origination, Position, Received, Revoked, Settle, Signal,
};
pub use error::{EncodeError, ErrorKind, PatternError, PublishError, Reason, TransportError};
pub use message::{Encode, Encoded, Encoder, Groups, Local, Message, Origin, Payload, Receipt};
pub use message::{TryPublish, Wire};
pub use shadow::{BoxFuture, DynBrowser, DynConsumer, DynTransport};
pub use tidings_envelope::{
    Attributes, Carried, Envelope, EventId, HeaderError, Headers, Malformed,
};
pub use tidings_envelope::{Name, Timestamp, TraceContext, field};
pub use topology::{
    Declare, GroupTopology, Mode, Pattern, Start, Subscribe, Topics, Topology, is_retry_topic,
};
pub use transport::{Browser, CloseReport, Entry, Health, Interest, Lag, Transport};
