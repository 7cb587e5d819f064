use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{AnyEvent, Bus, Delivery, Event, Failure, permanent};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

/// Not `Clone`: taken shared.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(name = "order.paid", version = 1)]
struct OrderPaid {
    order_id: String,
}

#[derive(Clone)]
struct Db;

impl Db {
    async fn save(&self, _order: &OrderPlaced) -> Result<(), std::io::Error> {
        Ok(())
    }
}

struct Payments;

impl Payments {
    async fn charge(self: Arc<Self>, _order: OrderPlaced) -> Result<(), String> {
        Ok(())
    }
}

async fn by_value(_order: OrderPlaced) {}

async fn boxed(_order: OrderPlaced) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(())
}

async fn classified(order: OrderPlaced) -> Result<(), Failure> {
    order.order_id.parse::<u64>().map(drop).map_err(permanent)
}

fn register(bus: &Bus, db: Db) {
    bus.on(by_value);
    bus.on(boxed);
    bus.on(classified);
    bus.named("closure").on(async |order: OrderPlaced| drop(order));
    bus.named("pattern").on(async |OrderPlaced { order_id }: OrderPlaced| drop(order_id));
    bus.named("shared").on(async |order: Arc<OrderPaid>| println!("{}", order.order_id));
    bus.named("delivery").on(async |order: Delivery<OrderPaid>| println!("{}", order.id()));
    bus.with(Arc::new(Payments)).on(Payments::charge);
    bus.with(db.clone()).on(async |db: Db, order: OrderPlaced| db.save(&order).await);
    bus.named("cloned").on(move |order: OrderPlaced| {
        let db = db.clone();
        async move { db.save(&order).await }
    });
    bus.group("audit").on_pattern("order.*", async |event: AnyEvent| println!("{}", event.name()));
    bus.listen(|order: &OrderPlaced| println!("{}", order.order_id));
    bus.listen(|_order: &OrderPaid| Err::<(), _>("not today"));
}

fn main() {
    let _ = register;
}
