//! The group `inventory-service`: reserves stock for every order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidings::Bus;

use super::events::OrderPlaced;
use super::report::Report;

pub(crate) const GROUP: &str = "inventory-service";

struct Inventory {
    reserved: Mutex<BTreeMap<String, u64>>,
    report: Arc<Report>,
}

/// Adds the consumer to the bus.
pub(crate) fn join(bus: &Bus, report: &Arc<Report>) {
    let inventory = Inventory {
        reserved: Mutex::default(),
        report: Arc::clone(report),
    };
    bus.group(GROUP)
        .exact()
        .with(Arc::new(inventory))
        .on(Inventory::reserve);
}

impl Inventory {
    async fn reserve(self: Arc<Self>, order: OrderPlaced) {
        let mut pieces = 0;
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        for item in order.items {
            pieces += u64::from(item.quantity);
            *reserved.entry(item.product_id).or_default() += u64::from(item.quantity);
        }
        drop(reserved);
        self.report.count(|counts| &counts.placed);
        self.report.line(
            GROUP,
            &order.order_id,
            format_args!("stock reserved: {pieces}"),
        );
    }
}
