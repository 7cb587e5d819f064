//! What an event is: a fact with a declared name and version, a key, and a way to read its older
//! versions.
//!
//! [`Event`] is derived. Its identity on the wire is what the attribute says, never a Rust path, so
//! that types and modules may be renamed freely. [`KeyPart`] is what a field must be to take part
//! in a key; [`Lineage`] is the chain of versions that a type can read.

mod decode;
mod key;
mod lineage;
#[doc(hidden)]
pub mod private;
mod upcast;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use decode::decode;
pub use decode::{Body, DecodeError, DecodeErrorKind};
pub use key::KeyPart;
pub use lineage::{Lineage, LineageError};

/// A fact that happened, as a Rust type: what is emitted and what handlers take.
///
/// Derive it, beside serde's two:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidings::Event;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed", version = 1)]
/// struct OrderPlacedV1 {
///     order_id: String,
/// }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(
///     name = "order.placed",
///     version = 2,
///     key = order_id,
///     id = order_id,
///     upcast_from = OrderPlacedV1
/// )]
/// struct OrderPlaced {
///     order_id: String,
///     total_cents: u64,
/// }
///
/// impl From<OrderPlacedV1> for OrderPlaced {
///     fn from(old: OrderPlacedV1) -> Self {
///         Self { order_id: old.order_id, total_cents: 0 }
///     }
/// }
///
/// let order = OrderPlaced { order_id: "ord-1".into(), total_cents: 5999 };
/// assert_eq!(OrderPlaced::NAME, "order.placed");
/// assert_eq!(order.key().as_deref(), Some("ord-1"));
/// // The natural id carries the name, so that two kinds of facts about one order stay two.
/// assert_eq!(order.natural_id().as_deref(), Some("order.placed:ord-1"));
/// ```
///
/// # Contract
///
/// - [`NAME`](Self::NAME) and [`VERSION`](Self::VERSION) are unique in a program: a second type
///   with both is refused at start.
/// - [`key`](Self::key) and [`natural_id`](Self::natural_id) are pure: the same event gives the
///   same text, today and after the next release.
/// - Upcasting is pure and total (V2): the same bytes give the same event, live and in a replay.
///
/// Written by hand, an event promises the same; the derive also checks it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "add `#[derive(Event)]` and `#[event(name = \"…\", version = 1)]` to the type"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is called on the wire: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes.
    const NAME: &'static str;

    /// The version of its shape, from 1.
    const VERSION: u32;

    /// The topic, where one was set explicitly; such a topic may carry other events too. `None`
    /// stands for a topic of its own, called as the event.
    const TOPIC: Option<&'static str> = None;

    /// Who makes it, in place of the bus's service name.
    const SOURCE: Option<&'static str> = None;

    /// What its order is kept by: events with one key are handled one at a time, in order (O1).
    /// `None`, the default, promises no order and leaves full parallelism. An empty key is a key.
    fn key(&self) -> Option<String> {
        None
    }

    /// An id that the fact itself gives, so that two producers of one fact make one id. `None`, the
    /// default: the bus makes a fresh UUIDv7. Begin it with the name (`order.placed:ord-1`): ids of
    /// all events share one space.
    fn natural_id(&self) -> Option<String> {
        None
    }

    /// Reads a stored event of this name, of this version or of one it descends from.
    ///
    /// All reading passes here: handlers, dead letters, replays. The default knows the type's own
    /// version; `upcast_from` adds the older ones.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: the body does not hold what `version` promises, the version is newer than
    /// this one, no upcaster leads from it, or an upcaster refused the value.
    fn from_version(version: u32, body: &Body<'_>) -> Result<Self, DecodeError> {
        if version == Self::VERSION {
            body.decode()
        } else if version > Self::VERSION {
            Err(DecodeError::future(Self::NAME, version, Self::VERSION))
        } else {
            Err(DecodeError::no_upcaster(Self::NAME, version, Self::VERSION))
        }
    }

    /// Names the versions that [`from_version`](Self::from_version) reads, newest first. The bus
    /// checks them at start.
    ///
    /// Who overrides one overrides both:
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Body, DecodeError, Event, Lineage};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "user.renamed", version = 1)]
    /// # struct V1 { name: String }
    /// # #[derive(Serialize, Deserialize)]
    /// # struct V2 { names: Vec<String> }
    /// impl Event for V2 {
    ///     const NAME: &'static str = "user.renamed";
    ///     const VERSION: u32 = 2;
    ///
    ///     fn from_version(version: u32, body: &Body<'_>) -> Result<Self, DecodeError> {
    ///         if version == Self::VERSION {
    ///             return body.decode();
    ///         }
    ///         let old = V1::from_version(version, body)?;
    ///         Ok(Self { names: vec![old.name] })
    ///     }
    ///
    ///     fn lineage(lineage: &mut Lineage) {
    ///         lineage.push::<Self>();
    ///         lineage.then::<V1>();
    ///     }
    /// }
    /// # assert!(Lineage::of::<V2>().check().is_ok());
    /// ```
    fn lineage(lineage: &mut Lineage) {
        lineage.push::<Self>();
    }

    /// This thread's place for what emits of this type read; `None` where it has none of its own.
    #[doc(hidden)]
    fn cache<R>(_use: impl FnOnce(&private::Cache<Self>) -> R) -> Option<R> {
        None
    }
}
