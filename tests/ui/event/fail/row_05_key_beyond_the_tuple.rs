use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "pair", version = 1, key = 2)]
struct Pair(String, String);

fn main() {}
