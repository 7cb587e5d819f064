use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

#[derive(Clone)]
struct Db;

impl Db {
    async fn save(&self, _order: OrderPlaced) {}
}

fn register(bus: &Bus, db: Db) {
    bus.on(async move |order: OrderPlaced| db.save(order).await);
}

fn main() {}
