use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.dead", version = 1)]
struct OrderDead {
    order_id: String,
}

fn main() {}
