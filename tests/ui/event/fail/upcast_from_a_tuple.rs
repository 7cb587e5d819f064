use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, upcast_from = (u8, u8))]
struct OrderPlaced;

fn main() {}
