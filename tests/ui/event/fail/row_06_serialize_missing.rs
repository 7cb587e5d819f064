use serde::Deserialize;
use tidings::Event;

#[derive(Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

fn main() {}
