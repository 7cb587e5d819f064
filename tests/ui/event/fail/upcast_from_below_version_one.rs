use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlacedV1;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, upcast_from = OrderPlacedV1)]
struct OrderPlaced;

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(_: OrderPlacedV1) -> Self {
        Self
    }
}

fn main() {}
