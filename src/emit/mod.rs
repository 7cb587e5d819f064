//! Emitting: from `bus.emit(event)` to the transport and the listeners.

mod builder;
mod completion;
mod context;
mod error;
mod listen;
mod outgoing;
mod publish;
mod publisher;
mod receipt;

pub use builder::{Emit, Emitting};
pub use completion::{CompletedError, Completion, Ended, HandlerOutcome};
pub use context::Context;
pub use error::PublishError;
pub use listen::Tap;
pub use publisher::Publisher;
pub use receipt::Receipt;

pub(crate) use completion::Completions;
pub(crate) use context::{Current, Entered, QuietTurn, outside, running_handler, turn_to};
pub(crate) use listen::{Called, Heard, Inline, Limited, Listening, TapListener, fire};
pub(crate) use publish::{Plain, call_plainly};
pub(crate) use publisher::try_emit;
