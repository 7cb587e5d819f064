//! What the transport logs: its threads say some things to nobody else.

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::Registry;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what is said from here on, in every thread.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let all = Registry::default().with(Keep);
        tracing::subscriber::set_global_default(all).unwrap();
    });
}

/// What was said that has all these parts; others' tests are told apart by names of their own.
pub(crate) fn said(parts: &[&str]) -> Vec<String> {
    let has_all = |line: &&String| parts.iter().all(|part| line.contains(part));
    lines().iter().filter(has_all).cloned().collect()
}

/// Waits until something was said that has all these parts.
pub(crate) async fn hear(parts: &[&str]) -> String {
    loop {
        if let Some(line) = said(parts).pop() {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lines() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("tidings") {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            lines().push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?};", field.name()));
    }
}
