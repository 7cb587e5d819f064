use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = self.order_id)]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
