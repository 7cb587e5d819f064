use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
