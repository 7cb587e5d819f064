use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize)]
struct Customer {
    id: (u8, u32),
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Order_Placed-1.x", version = 4294967295u32, topic = "orders")]
#[event(key = (region, customer.id.1), id = customer.id.0, source = "https://orders.example/eu",)]
struct OrderPlaced {
    region: Cow<'static, str>,
    customer: Customer,
    #[serde(skip)]
    note: &'static str,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "pair", version = 1, key = (1.0, 0), id = 1.0.id.0)]
struct Pair(u8, (Customer2, u8));

#[derive(Serialize, Deserialize)]
struct Customer2 {
    id: (char, bool),
}

impl tidings::KeyPart for Customer2 {
    fn write_key(&self, text: &mut String) {
        self.id.1.write_key(text);
    }
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "unit", version = 1)]
struct Unit;

fn main() {
    let customer = Customer { id: (1, 2) };
    let order = OrderPlaced { region: "eu".into(), customer, note: "" };
    assert_eq!(OrderPlaced::NAME, "Order_Placed-1.x");
    assert_eq!(OrderPlaced::VERSION, u32::MAX);
    assert_eq!(OrderPlaced::TOPIC, Some("orders"));
    assert_eq!(OrderPlaced::SOURCE, Some("https://orders.example/eu"));
    assert_eq!(order.key().as_deref(), Some("eu:2"));
    assert_eq!(order.natural_id().as_deref(), Some("Order_Placed-1.x:1"));
    assert_eq!(order.note, "");

    let pair = Pair(7, (Customer2 { id: ('x', true) }, 0));
    assert_eq!(pair.key().as_deref(), Some("true:7"));
    assert_eq!(pair.natural_id().as_deref(), Some("pair:x"));

    assert_eq!((Unit::TOPIC, Unit::SOURCE), (None, None));
    assert_eq!((Unit.key(), Unit.natural_id()), (None, None));
}
