use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, kee = order_id)]
struct OrderPlacedV1 {
    order_id: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, key = order_id, upcast_from = OrderPlacedV1)]
struct OrderPlaced {
    order_id: String,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(old: OrderPlacedV1) -> Self {
        Self { order_id: old.order_id }
    }
}

fn emit<E: Event>(_: E) {}

fn used(order: OrderPlacedV1) {
    emit(order)
}

fn main() {}
