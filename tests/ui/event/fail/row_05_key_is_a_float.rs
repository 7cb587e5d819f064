use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "price.changed", version = 1, key = price)]
struct PriceChanged {
    price: f64,
}

fn main() {}
