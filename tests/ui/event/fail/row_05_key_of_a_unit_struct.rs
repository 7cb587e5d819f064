use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "tick", version = 1, key = id)]
struct Tick;

fn main() {}
