use tidings::Event;

#[derive(Event)]
#[event(name = "order.placed", version = 2, key = order_id, upcast_from = OrderPlacedV1)]
struct OrderPlaced {
    order_id: String,
}

#[derive(serde::Serialize, serde::Deserialize, Event)]
#[event(name = "order.placed", version = 1)]
struct OrderPlacedV1;

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(_: OrderPlacedV1) -> Self {
        Self { order_id: String::new() }
    }
}

fn main() {}
