use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
}

fn name_of<E: Event>(_: &E) -> &'static str {
    E::NAME
}

fn used(order: OrderPlaced) -> &'static str {
    name_of(&order)
}

fn main() {}
