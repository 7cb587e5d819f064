use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(nmae = "order.placed", version = "2", key = order, id = (order_id, order_id), topic = orders)]
#[event(source = "", version = 3)]
struct OrderPlaced<'a> {
    order_id: String,
    #[event(redact)]
    user: &'a str,
}

fn uses_raise_no_second_error<E: Event>() {}

fn main() {}
