//! The events of the page, and what every case shares.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::{Bus, Event};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
pub(crate) struct OrderPlacedV1 {
    pub(crate) order_id: String,
    pub(crate) total_cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 2, key = order_id, upcast_from = OrderPlacedV1)]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) user_id: String,
    pub(crate) total_cents: u64,
}

impl From<OrderPlacedV1> for OrderPlaced {
    fn from(old: OrderPlacedV1) -> Self {
        Self {
            order_id: old.order_id,
            user_id: "unknown".into(),
            total_cents: old.total_cents,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.paid", version = 1, key = order_id)]
pub(crate) struct OrderPaid {
    pub(crate) order_id: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "parcel.sent", version = 1)]
pub(crate) struct ParcelSent {
    pub(crate) order_id: String,
}

pub(crate) fn order(id: &str) -> OrderPlaced {
    OrderPlaced {
        order_id: id.into(),
        user_id: "usr-1".into(),
        total_cents: 5_999,
    }
}

pub(crate) async fn bus() -> Bus {
    Bus::builder("order-service").build().await.unwrap()
}

/// In memory, and in memory with every event encoded, as over a broker.
pub(crate) async fn buses() -> [Bus; 2] {
    let encoded = Bus::builder("order-service").transport(Memory::new().encoded(true));
    [bus().await, encoded.build().await.unwrap()]
}

/// What happened, in order.
#[derive(Debug)]
pub(crate) struct Log<T = String>(Arc<Mutex<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn add(&self, entry: impl Into<T>) {
        self.0.lock().unwrap().push(entry.into());
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
