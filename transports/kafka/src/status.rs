//! What librdkafka says about its connection: the state that `health` shows, and the last cause, which
//! a question that timed out cannot tell (trap 17: librdkafka retries for ever, in silence).

use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tidings_transport::{ErrorKind, Health, TransportError};

use crate::error;
use crate::statistics::Statistics;

#[derive(Debug)]
pub(crate) struct Status(Mutex<State>);

#[derive(Debug)]
struct State {
    health: Health,
    cause: Option<(Code, String)>,
}

impl Default for Status {
    fn default() -> Self {
        Self(Mutex::new(State {
            health: Health::Connecting("no broker has answered yet".into()),
            cause: None,
        }))
    }
}

impl Status {
    pub(crate) fn health(&self) -> Health {
        self.state().health.clone()
    }

    /// A broker answered.
    pub(crate) fn connected(&self) {
        let mut state = self.state();
        if state.health != Health::Closed {
            state.health = Health::Connected;
            state.cause = None;
        }
    }

    pub(crate) fn closed(&self) {
        self.state().health = Health::Closed;
    }

    /// An error of the client's own, which no call returned.
    pub(crate) fn failed(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        tracing::warn!(%code, reason, "Kafka's client reports an error");
        let mut state = self.state();
        // That all brokers are down says less than what was said about the last of them.
        let vague = code == Code::AllBrokersDown && state.cause.is_some();
        if !vague {
            state.cause = Some((code, reason.to_owned()));
        }
        if state.health != Health::Closed && error::kind(code) != ErrorKind::Other {
            state.health = Health::Connecting(reason.to_owned());
        }
    }

    /// How the brokers turn us away, if they do: time does not mend that.
    pub(crate) fn refusal(&self) -> Option<Code> {
        let state = self.state();
        let (code, _) = state.cause.as_ref()?;
        (error::kind(*code) == ErrorKind::Auth).then_some(*code)
    }

    /// Whether a certificate could not be verified.
    pub(crate) fn is_unverified(&self) -> bool {
        let state = self.state();
        let cause = state.cause.as_ref();
        cause.is_some_and(|(code, reason)| {
            *code == Code::SSL && reason.contains("certificate verify failed")
        })
    }

    /// A question that had no answer, with the cause that the client gave meanwhile.
    pub(crate) fn no_answer(
        &self,
        doing: &str,
        servers: &str,
        error: KafkaError,
        fix: Option<&'static str>,
    ) -> TransportError {
        match &self.state().cause {
            Some((code, reason)) => {
                let fix = fix.unwrap_or_else(|| error::fix(*code, reason));
                let kind = match error::kind(*code) {
                    kind if fix == error::AMID_HANDSHAKE => kind,
                    // Trying again later would be the same again.
                    _ if !fix.is_empty() => ErrorKind::Auth,
                    ErrorKind::Other => ErrorKind::Connection,
                    kind => kind,
                };
                TransportError::new(
                    kind,
                    format!("{doing} at {servers}: {fix}{reason} ({code})"),
                )
                .with_source(error)
            }
            None => TransportError::new(
                ErrorKind::Connection,
                format!("{doing} at {servers}: no broker answered"),
            )
            .with_source(error),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// Takes note of the connection; gives back the rest.
    pub(crate) fn read_statistics(&self, text: &[u8]) -> Option<Statistics> {
        let statistics = Statistics::read(text)?;
        if statistics.is_connected() {
            self.connected();
        }
        Some(statistics)
    }
}

/// The context of clients that only ask questions.
#[derive(Clone, Debug)]
pub(crate) struct Asking(pub(crate) std::sync::Arc<Status>);

impl ClientContext for Asking {
    fn stats_raw(&self, statistics: &[u8]) {
        self.0.read_statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.failed(&error, reason);
    }
}

impl ConsumerContext for Asking {}
