use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced<'a> {
    order_id: Cow<'a, str>,
}

fn main() {}
