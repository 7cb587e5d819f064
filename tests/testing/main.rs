//! The test kit, as its users meet it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod guards;
mod inject;
mod records;
mod time;

use serde::{Deserialize, Serialize};
use tidings::Event;
use tidings::testing::{Fate, Handled};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, key = order_id)]
struct OrderPlaced {
    order_id: String,
    #[serde(skip)]
    note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "payment.completed", version = 1, key = order_id)]
struct PaymentCompleted {
    order_id: String,
}

fn order(id: impl ToString) -> OrderPlaced {
    OrderPlaced {
        order_id: id.to_string(),
        note: String::new(),
    }
}

fn fates(handled: &[Handled]) -> Vec<Fate> {
    handled.iter().map(|handled| handled.fate).collect()
}
