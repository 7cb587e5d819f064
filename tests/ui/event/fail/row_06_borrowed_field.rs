use serde::Serialize;
use tidings::Event;

#[derive(Serialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlaced<'a> {
    order_id: &'a str,
    items: Vec<&'a [u8]>,
}

fn main() {}
