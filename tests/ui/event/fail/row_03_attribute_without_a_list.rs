use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event = "order.placed"]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
