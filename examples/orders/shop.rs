//! Orders that nobody placed.

use fastrand::Rng;

use super::events::{Item, OrderPlaced};

const CATALOGUE: [(&str, u64); 6] = [
    ("prod_12", 450),
    ("prod_17", 1_200),
    ("prod_23", 8_990),
    ("prod_44", 14_900),
    ("prod_88", 2_999),
    ("prod_93", 999),
];

/// Makes up orders, always the same with one seed. The 5th of every hundred comes twice, as orders
/// do from a client that lost the answer to its first try; the 13th of every thousand is poison.
pub(crate) struct Shop {
    orders: u64,
    number: u64,
    again: Option<OrderPlaced>,
    dice: Rng,
}

impl Shop {
    pub(crate) fn new(orders: u64, seed: u64) -> Self {
        Self {
            orders,
            number: 0,
            again: None,
            dice: Rng::with_seed(seed),
        }
    }

    /// The number of the last order.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn make(&mut self) -> OrderPlaced {
        let mut cents = 0;
        let items = (0..self.dice.usize(1..=3)).map(|_| {
            let (product, price) = CATALOGUE[self.dice.usize(..CATALOGUE.len())];
            let quantity = self.dice.u32(1..=3);
            cents += price * u64::from(quantity);
            Item {
                product_id: product.to_owned(),
                quantity,
                price: price as f64 / 100.0,
            }
        });
        let items = items.collect();
        let poison = self.number % 1_000 == 13;
        OrderPlaced {
            order_id: format!("ord_{}", 5_000 + self.number),
            user_id: format!("usr_{}", self.dice.u32(100..1_000)),
            items,
            total_amount: if poison { -1.0 } else { cents as f64 / 100.0 },
        }
    }
}

impl Iterator for Shop {
    type Item = OrderPlaced;

    fn next(&mut self) -> Option<OrderPlaced> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        if self.number == self.orders {
            return None;
        }
        self.number += 1;
        let order = self.make();
        if self.number % 100 == 5 {
            self.again = Some(order.clone());
        }
        Some(order)
    }
}
