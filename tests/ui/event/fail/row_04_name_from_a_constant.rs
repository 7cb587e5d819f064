use serde::{Deserialize, Serialize};
use tidings::Event;

const NAME: &str = "order.placed";

#[derive(Serialize, Deserialize, Event)]
#[event(name = NAME, version = 1)]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
