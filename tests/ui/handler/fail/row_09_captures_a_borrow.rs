use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

fn register(bus: &Bus) {
    let seen = std::sync::Mutex::new(0);
    bus.on(async |_order: OrderPlaced| *seen.lock().unwrap() += 1);
}

fn main() {}
