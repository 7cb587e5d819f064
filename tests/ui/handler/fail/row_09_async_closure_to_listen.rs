use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

fn register(bus: &Bus) {
    bus.listen(async |order: &OrderPlaced| drop(order.order_id.len()));
}

fn main() {}
