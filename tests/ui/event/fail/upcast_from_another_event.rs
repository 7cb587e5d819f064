use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.created", version = 1)]
struct OrderCreated;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, upcast_from = OrderCreated)]
struct OrderPlaced;

impl From<OrderCreated> for OrderPlaced {
    fn from(_: OrderCreated) -> Self {
        Self
    }
}

fn main() {}
