use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize)]
struct OrderId(String);

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, id = order_id)]
struct OrderPlaced {
    order_id: OrderId,
}

fn main() {}
