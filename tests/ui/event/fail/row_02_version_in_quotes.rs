use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = "2")]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
