use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "price.changed", version = 1, key = (product, price))]
struct PriceChanged {
    product: String,
    price: f64,
}

fn main() {}
