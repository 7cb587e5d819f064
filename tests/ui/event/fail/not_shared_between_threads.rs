use serde::{Deserialize, Serialize};
use tidings::Event;

use std::cell::Cell;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced {
    seen: Cell<bool>,
}

fn main() {}
