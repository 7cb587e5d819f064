use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "payment.ended", version = 1, topic = "payments")]
enum PaymentEnded {
    Completed { order_id: String },
    Failed(String),
    Unknown,
}

fn main() {
    let ended = [
        PaymentEnded::Completed { order_id: "o".into() },
        PaymentEnded::Failed("declined".into()),
        PaymentEnded::Unknown,
    ];
    assert!(ended.iter().all(|event| event.key().is_none() && event.natural_id().is_none()));
    assert_eq!(PaymentEnded::TOPIC, Some("payments"));
}
