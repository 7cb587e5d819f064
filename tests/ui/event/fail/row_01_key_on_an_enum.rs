use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "payment.ended", version = 1, key = order_id)]
enum PaymentEnded {
    Completed { order_id: String },
    Failed { order_id: String },
}

fn main() {}
