use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = type)]
struct OrderPlaced {
    r#type: String,
}

fn main() {}
