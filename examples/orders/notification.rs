//! The group `notification-service`: mails the customer about all three kinds of events.

use std::sync::Arc;

use tidings::Bus;

use super::events::{OrderPlaced, PaymentCompleted, PaymentFailed};
use super::report::Report;

pub(crate) const GROUP: &str = "notification-service";

struct Notifications {
    report: Arc<Report>,
}

/// Adds the consumer to the bus. A group may handle as many types as it likes.
pub(crate) fn join(bus: &Bus, report: &Arc<Report>) {
    let notifications = Notifications {
        report: Arc::clone(report),
    };
    let group = bus.group(GROUP).exact().with(Arc::new(notifications));
    group.on(Notifications::confirm);
    group.on(Notifications::send_receipt);
    group.on(Notifications::explain_failure);
}

impl Notifications {
    async fn confirm(self: Arc<Self>, order: OrderPlaced) {
        self.mail(
            &order.order_id,
            &format!("to {}: we have your order", order.user_id),
        );
    }

    async fn send_receipt(self: Arc<Self>, payment: PaymentCompleted) {
        self.report.count(|counts| &counts.paid);
        self.mail(
            &payment.order_id,
            &format!("paid, receipt {}", payment.transaction_id),
        );
    }

    async fn explain_failure(self: Arc<Self>, payment: PaymentFailed) {
        self.report.count(|counts| &counts.failed);
        self.mail(&payment.order_id, &format!("not paid: {}", payment.reason));
    }

    fn mail(&self, order_id: &str, text: &str) {
        self.report
            .line(GROUP, order_id, format_args!("mail {text}"));
    }
}
