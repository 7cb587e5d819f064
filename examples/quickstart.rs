//! The README's program, word for word: an event, a handler, an emit.
#![allow(
    clippy::print_stdout,
    reason = "an example speaks on its standard output"
)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
struct OrderPlaced {
    order_id: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder("order-service").build().await?;
    bus.on(async |order: OrderPlaced| println!("{} was placed", order.order_id));

    let order_id = "ord-1".to_owned();
    bus.emit(OrderPlaced { order_id }).await?;
    bus.shutdown().await?;
    Ok(())
}
