//! The group `payment-service`: charges the card, and says how that ended by an event.

use std::sync::Arc;
use std::time::Duration;

use tidings::{Bus, Delivery, Failure, RetryPolicy, permanent};

use super::events::{OrderPlaced, PaymentCompleted, PaymentFailed};
use super::gateway::{Charge, Gateway};
use super::report::Report;

pub(crate) const GROUP: &str = "payment-service";

struct Payments {
    bus: Bus,
    gateway: Gateway,
    report: Arc<Report>,
}

/// Adds the consumer to the bus.
///
/// The waits between attempts are short because this gateway recovers at once; 100 ms to 30 s is
/// the default. Retries are kept to a fifth of the first attempts (or ten a second) by the group's
/// retry budget, so a gateway that fails more often than [`super::gateway`] says is not stormed:
/// the story then takes longer.
pub(crate) fn join(bus: &Bus, report: &Arc<Report>, seed: u64) {
    let payments = Payments {
        bus: bus.clone(),
        gateway: Gateway::new(seed),
        report: Arc::clone(report),
    };
    let quick = RetryPolicy::exponential()
        .base(Duration::from_millis(5))
        .cap(Duration::from_millis(50));
    bus.group(GROUP)
        .exact()
        .retry(quick)
        .with(Arc::new(payments))
        .on(Payments::charge);
}

impl Payments {
    /// Three ways to end: an event that says what the bank said, an error that is retried, and an
    /// error that no retry can mend.
    async fn charge(self: Arc<Self>, order: Delivery<OrderPlaced>) -> Result<(), Failure> {
        let OrderPlaced {
            order_id,
            total_amount,
            ..
        } = order.event();
        if *total_amount < 0.0 {
            let error = format!("the total of {total_amount:.2} is below zero");
            self.report.failure(
                GROUP,
                order_id,
                format_args!("{error}: no retry can mend that"),
            );
            return Err(permanent(error));
        }
        match self
            .gateway
            .charge(order_id, *total_amount, order.attempt())
            .await
        {
            Ok(Charge::Accepted { transaction_id }) => {
                self.report
                    .line(GROUP, order_id, format_args!("charged {total_amount:.2}"));
                let order_id = order_id.clone();
                // Should this fail, the whole attempt is repeated. That is safe twice over: the
                // gateway knows the order, and the event's id is the order's.
                self.bus
                    .emit(PaymentCompleted {
                        order_id,
                        transaction_id,
                    })
                    .await?;
            }
            Ok(Charge::Declined { reason }) => {
                self.report
                    .failure(GROUP, order_id, format_args!("declined: {reason}"));
                let order_id = order_id.clone();
                self.bus.emit(PaymentFailed { order_id, reason }).await?;
            }
            Err(timeout) => {
                let attempt = order.attempt();
                self.report.failure(
                    GROUP,
                    order_id,
                    format_args!("attempt {attempt}: {timeout}"),
                );
                return Err(timeout.into());
            }
        }
        Ok(())
    }
}
