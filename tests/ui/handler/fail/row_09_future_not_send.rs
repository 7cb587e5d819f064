use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    order_id: String,
}

async fn charge(order: OrderPlaced) {
    let shared = std::rc::Rc::new(order.order_id);
    tokio::task::yield_now().await;
    println!("{shared}");
}

fn register(bus: &Bus) {
    bus.on(charge);
}

fn main() {}
