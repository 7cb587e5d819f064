use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

fn register(bus: &Bus) {
    bus.on(async |order: Box<OrderPlaced>| println!("{}", order.order_id));
}

fn main() {}
