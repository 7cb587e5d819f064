use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

#[derive(Clone)]
struct Db;

#[derive(Clone)]
struct Cache;

async fn charge(_db: Db, _order: OrderPlaced) {}

fn register(bus: &Bus) {
    bus.with(Cache).on(charge);
}

fn main() {
    let _ = Db;
}
