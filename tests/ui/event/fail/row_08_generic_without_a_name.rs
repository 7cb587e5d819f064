use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(version = 1)]
struct Page<T> {
    items: Vec<T>,
}

fn main() {}
