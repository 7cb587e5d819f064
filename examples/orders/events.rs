//! What happens in this shop. The JSON is camelCase, as services in other languages write it.

use serde::{Deserialize, Serialize};
use tidings::Event;

/// A customer placed an order.
///
/// `key`: events of one order are handled in order. `id`: the order's number is the event's
/// identity, so an order that arrives twice is one event, and every group handles it once.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id, id = order_id)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) user_id: String,
    #[serde(default)]
    pub(crate) items: Vec<Item>,
    #[serde(alias = "amount")]
    pub(crate) total_amount: f64,
}

/// One line of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
    pub(crate) price: f64,
}

/// The card was charged.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "payment.completed", version = 1, key = order_id, id = order_id)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentCompleted {
    pub(crate) order_id: String,
    pub(crate) transaction_id: String,
}

/// The bank said no. That is an outcome like any other, so it is an event; an error is what
/// keeps a handler from finding out.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "payment.failed", version = 1, key = order_id, id = order_id)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentFailed {
    pub(crate) order_id: String,
    pub(crate) reason: String,
}
