use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order)]
struct OrderPlaced {
    order_id: String,
    total_cents: u64,
}

fn main() {}
