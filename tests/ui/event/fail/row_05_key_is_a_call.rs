use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id.to_string())]
struct OrderPlaced {
    order_id: u64,
}

fn main() {}
