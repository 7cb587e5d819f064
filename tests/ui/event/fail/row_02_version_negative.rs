use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = -1)]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
