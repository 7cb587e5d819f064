use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

struct Db;

async fn charge(_db: Db, _order: OrderPlaced) {}

fn register(bus: &Bus) {
    bus.on(charge);
}

fn main() {}
