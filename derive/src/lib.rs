//! The derive macro behind `tidings::Event`. Depend on `tidings`, which re-exports it.
//!
//! One pass over the item, in this order: `attr` reads what was written into the `model`, `check`
//! judges it, `expand` writes the impl. Every mistake lands in one accumulator, on the smallest
//! token that holds it, and is reported together with the others; `fallback` then writes an impl
//! without behaviour, so that the uses of a half-written event raise no second error. Nothing here
//! panics.

mod attr;
mod check;
mod expand;
mod fallback;
mod mistakes;
mod model;
mod suggest;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::mistakes::Mistakes;
use crate::model::Model;

/// Makes a struct or an enum an event: implements `tidings::Event`.
///
/// ```text
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed", version = 2, key = order_id, upcast_from = OrderPlacedV1)]
/// struct OrderPlaced { order_id: String, total_cents: u64 }
/// ```
///
/// | in `#[event(…)]` | value | without it |
/// |---|---|---|
/// | `name` | the event's name on the wire: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes, not ending in `.dead` or `.retry` | an error: a Rust path is no wire name |
/// | `version` | a whole number from 1 | an error |
/// | `key` | what events are ordered by: a field, a path (`customer.id`, `0`) or several, `(region, customer.id)` | no key, no order |
/// | `id` | the natural id, written as `key`: the event's id becomes `name:value` | a fresh UUIDv7 per event |
/// | `topic` | where it is published, at most 249 bytes; set explicitly it may be shared with other events | its own topic, called as the event |
/// | `source` | who makes it, in place of the bus's service name | the service name |
/// | `upcast_from` | the type that holds the version just below; needs `impl From<Previous>` or `TryFrom` | older versions are not decoded |
///
/// One part of a key is written as it is; several are joined by `:`, and a `:` or `\` inside a part
/// is escaped by `\`. Each part's type implements `tidings::KeyPart`.
///
/// The type also needs `#[derive(Serialize, Deserialize)]` and owns its data: no lifetimes. A
/// generic event is an event wherever it can be serialised, deserialised and sent. On an enum
/// `key` and `id` are not available; implement `Event` by hand where they are needed.
///
/// # Errors at compile time
///
/// `upcast_from` is checked against the other type: same name, version just below, a conversion
/// present. (In a generic event the first two are checked where it is used.) All other mistakes of
/// one item are reported at once.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    derive(input.into()).into()
}

fn derive(input: TokenStream) -> TokenStream {
    let input = match syn::parse2::<DeriveInput>(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut mistakes = Mistakes::default();
    let model = Model {
        attributes: attr::read(&input, &mut mistakes),
        input: &input,
    };
    let checked = check::check(&model, &mut mistakes);
    match (checked, mistakes.into_compile_errors()) {
        (Some(event), None) => expand::expand(&event),
        (_, errors) => fallback::expand(&model, errors),
    }
}

#[cfg(test)]
mod tests;
