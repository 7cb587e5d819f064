//! A payment gateway as one knows them: slow, flaky, and the same at every run with one seed.

use std::time::Duration;

use fastrand::Rng;

/// Of a hundred attempts, how many time out: well within the retry budget of 20.
const TIMEOUTS_PERCENT: u32 = 5;
/// Of a hundred cards, how many the bank declines.
const DECLINES_PERCENT: u32 = 6;

pub(crate) struct Gateway {
    seed: u64,
}

/// What the bank said.
pub(crate) enum Charge {
    Accepted { transaction_id: String },
    Declined { reason: String },
}

/// The bank said nothing.
#[derive(Debug, thiserror::Error)]
#[error("the gateway timed out")]
pub(crate) struct Timeout;

impl Gateway {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Charges an order once, however often it is asked: the order is the idempotency key, and the
    /// answer to a repeat is the first answer.
    pub(crate) async fn charge(
        &self,
        order_id: &str,
        _amount: f64,
        attempt: u32,
    ) -> Result<Charge, Timeout> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.dice(order_id, attempt).u32(..100) < TIMEOUTS_PERCENT {
            return Err(Timeout);
        }
        let mut dice = self.dice(order_id, 0);
        if dice.u32(..100) < DECLINES_PERCENT {
            return Ok(Charge::Declined {
                reason: String::from("insufficient funds"),
            });
        }
        Ok(Charge::Accepted {
            transaction_id: format!("txn_{:016x}", dice.u64(..)),
        })
    }

    /// Random numbers that depend on nothing but the seed, the order and the attempt, so that a
    /// run does not depend on what ran first.
    fn dice(&self, order_id: &str, attempt: u32) -> Rng {
        let bytes = order_id.bytes().chain(attempt.to_le_bytes());
        // FNV-1a.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325 ^ self.seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Rng::with_seed(hash)
    }
}
