//! What a program's subscriber would see of the bus: its lines and spans, with their fields.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// The fields of a line or span; of a line the text is `message`.
pub(crate) type Fields = BTreeMap<String, String>;

/// One log line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) fields: Fields,
    /// The spans around it, the innermost first.
    pub(crate) scope: Vec<Seen>,
}

/// One span, with what was recorded on it until now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    fields: Arc<Mutex<Fields>>,
}

/// Everything seen on this thread since [`start`](Self::start).
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture(Arc<Mutex<(Vec<Line>, Vec<Seen>)>>);

/// A capture, until it is dropped.
#[derive(Debug)]
pub(crate) struct Captured(Option<DefaultGuard>);

/// The level that is on for the process goes down only when it is worked out anew; as long as it
/// is up, events go the longer way.
impl Drop for Captured {
    fn drop(&mut self) {
        self.0 = None;
        tracing::callsite::rebuild_interest_cache();
    }
}

impl Capture {
    /// Captures what this thread logs until the guard is dropped: on a current-thread runtime
    /// that is every task's.
    pub(crate) fn start() -> (Self, Captured) {
        let capture = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(capture.clone()));
        (capture, Captured(Some(guard)))
    }

    /// The lines that say this.
    pub(crate) fn lines(&self, message: &str) -> Vec<Line> {
        let says = |line: &&Line| {
            line.fields
                .get("message")
                .is_some_and(|it| it.contains(message))
        };
        self.seen().0.iter().filter(says).cloned().collect()
    }

    /// Every line and every span, as text.
    pub(crate) fn everything(&self) -> String {
        let seen = self.seen();
        let spans = seen.1.iter().map(|span| (span.name, span.fields()));
        format!("{:?}{:?}", seen.0, spans.collect::<Vec<_>>())
    }

    /// The spans of this name, in the order they began.
    pub(crate) fn spans(&self, name: &str) -> Vec<Seen> {
        self.seen()
            .1
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }

    fn seen(&self) -> MutexGuard<'_, (Vec<Line>, Vec<Seen>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// A field of the line; empty if it has none of this name.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Seen {
    pub(crate) fn fields(&self) -> Fields {
        self.fields
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A field; empty if it has none of this name.
    pub(crate) fn field(&self, name: &str) -> String {
        self.fields().remove(name).unwrap_or_default()
    }
}

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Reader(&mut fields));
        let seen = Seen {
            name: attributes.metadata().name(),
            fields: Arc::new(Mutex::new(fields)),
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(seen.clone());
        }
        self.seen().1.push(seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(seen) = span.extensions().get::<Seen>()
        {
            let mut fields = seen.fields.lock().unwrap_or_else(PoisonError::into_inner);
            values.record(&mut Reader(&mut fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let scope = context.event_scope(event).into_iter().flatten();
        let scope = scope
            .filter_map(|span| span.extensions().get::<Seen>().cloned())
            .collect();
        self.seen().0.push(Line {
            level: *event.metadata().level(),
            fields,
            scope,
        });
    }
}
