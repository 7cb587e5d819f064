use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize)]
struct Customer {
    id: u64,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = customer.number)]
struct OrderPlaced {
    customer: Customer,
}

fn main() {}
