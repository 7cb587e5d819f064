//! What became of each record, as the producer's client tells it on its thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use tidings_transport::Position;
use tokio::sync::oneshot;

use crate::error;
use crate::publish::{Line, Verdict};
use crate::status::Status;

/// Hears what became of each record, on the client's thread.
pub(crate) struct Reports {
    pub(crate) line: Weak<Line>,
    pub(crate) status: Arc<Status>,
}

impl ClientContext for Reports {
    fn stats_raw(&self, statistics: &[u8]) {
        self.status.read_statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.status.failed(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Verdict>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let verdict = match result {
            Ok(message) => Ok(Position {
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        let line = self.line.upgrade();
        if let (Err(code), Some(line)) = (verdict, &line)
            && error::not_delivered("", code).is_unknown()
        {
            line.unknown.fetch_add(1, Ordering::AcqRel);
        }
        // Nobody listens any more: its outcome is Unknown (P4).
        let _ = report.send(verdict);
        if let Some(line) = line {
            line.pump();
        }
    }
}
