//! The group `audit-service`: one more consumer, of every event there is or will be.
//!
//! It knows no event type. The events, the services that emit them and the other consumers were
//! not touched to add it: `main` calls `join`, that is all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidings::{AnyEvent, Bus};

use super::report::Report;

pub(crate) const GROUP: &str = "audit-service";

/// Adds the consumer to the bus.
pub(crate) fn join(bus: &Bus, report: &Arc<Report>) {
    let audit = Arc::new(Audit {
        seen: Mutex::default(),
        report: Arc::clone(report),
    });
    report.at_end({
        let audit = Arc::clone(&audit);
        move || audit.summary()
    });
    bus.group(GROUP)
        .exact()
        .named("audit")
        .on_pattern("#", move |event: AnyEvent| {
            let audit = Arc::clone(&audit);
            async move { audit.note(&event) }
        });
}

struct Audit {
    seen: Mutex<Seen>,
    report: Arc<Report>,
}

#[derive(Default)]
struct Seen {
    by_name: BTreeMap<String, u64>,
    caused: u64,
}

impl Audit {
    /// Who set off what is known without a line of code in the services: an event emitted inside a
    /// handler carries the id of the one being handled.
    fn note(&self, event: &AnyEvent) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.by_name.entry(event.name().to_owned()).or_default() += 1;
        if let Some(cause) = event.causation_id() {
            seen.caused += 1;
            let (order_id, name) = (event.key().unwrap_or("-"), event.name());
            self.report
                .line(GROUP, order_id, format_args!("{name} came of {cause}"));
        }
    }

    fn summary(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = seen.by_name.iter();
        let counts: Vec<_> = counts
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        format!(
            "audit: {}, {} came of another",
            counts.join(" "),
            seen.caused
        )
    }
}
