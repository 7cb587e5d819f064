use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

struct Declined;

async fn charge(_order: OrderPlaced) -> Result<(), Declined> {
    Err(Declined)
}

fn register(bus: &Bus) {
    bus.on(charge);
}

fn main() {}
