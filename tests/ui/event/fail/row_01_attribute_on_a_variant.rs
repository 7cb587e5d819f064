use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "payment.ended", version = 1)]
enum PaymentEnded {
    #[event(name = "payment.completed")]
    Completed,
    Failed,
}

fn main() {}
