use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{Capabilities, Declare, Envelope, EventId, Mode, Name, Start, Timestamp};

use crate::event::DecodeError;
use crate::handler::{Class, Failure};
use crate::pipeline::{DedupPolicy, PausePolicy, RetryPolicy};

/// Settings of a bus that are not a group's.
#[derive(Clone, Debug)]
pub(crate) struct BusConfig {
    pub(crate) drain: Duration,
    pub(crate) max_hops: u16,
    pub(crate) max_headers: usize,
    pub(crate) max_key: usize,
    pub(crate) warn_handlers: usize,
    pub(crate) declare: Declare,
    pub(crate) mappings: Vec<Mapping>,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            max_hops: 64,
            max_headers: 16 * 1024,
            max_key: 1024,
            warn_handlers: 10,
            declare: Declare::Create,
            mappings: Vec::new(),
        }
    }
}

impl BusConfig {
    pub(crate) fn mapping(&self, topic: &str) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| mapping.topic == topic)
    }

    pub(crate) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.drain.is_zero() {
            wrong.push(String::from(
                "drain deadline is 0 s: give handlers at least a moment",
            ));
        }
        if self.max_hops == 0 {
            wrong.push(String::from(
                "max hops is 0: no event could ever be handled; use 1 or more",
            ));
        }
        wrong
    }
}

/// Where a foreign producer's JSON keeps what an envelope would say (house rule 12).
#[derive(Clone, Debug)]
pub struct Mapping {
    topic: Name,
    event: String,
    data: String,
    id: Option<String>,
}

impl Mapping {
    /// For records on `topic` that carry no envelope: the event's name is at the JSON pointer
    /// `event`, its data at the pointer `data`. The version is the newest that is handled.
    ///
    /// ```
    /// use tidings::Mapping;
    ///
    /// // {"event": "OrderPlaced", "data": {"orderId": "ord_1"}}
    /// let mapping = Mapping::new("orders", "/event", "/data").id("/data/orderId");
    /// ```
    pub fn new(topic: impl Into<Name>, event: impl Into<String>, data: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            event: event.into(),
            data: data.into(),
            id: None,
        }
    }

    /// Where the event's id is; without it the id is the record's place in its topic.
    #[must_use]
    pub fn id(mut self, pointer: impl Into<String>) -> Self {
        self.id = Some(pointer.into());
        self
    }

    pub(crate) fn check(&self) -> Vec<String> {
        [Some(&self.event), Some(&self.data), self.id.as_ref()]
            .into_iter()
            .flatten()
            .filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
            .map(|pointer| {
                format!(
                    "mapping of topic {:?}: {pointer:?} is no JSON pointer: begin it with /",
                    self.topic
                )
            })
            .collect()
    }

    /// Reads a record; the data stays JSON text.
    #[cfg(feature = "json")]
    pub(crate) fn read(
        &self,
        body: &Bytes,
        fallback_id: impl FnOnce() -> EventId,
        published: Option<Timestamp>,
    ) -> Result<(Envelope, Bytes), DecodeError> {
        let value: serde_json::Value = crate::codec::json::from_slice(body)?;
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        let missing = |pointer: &str| DecodeError::unmapped(&self.topic, pointer);
        let name = text(&self.event).ok_or_else(|| missing(&self.event))?;
        let data = value
            .pointer(&self.data)
            .ok_or_else(|| missing(&self.data))?;
        let data = crate::codec::json::to_bytes(data).map_err(DecodeError::from)?;
        let id = match &self.id {
            Some(pointer) => EventId::from(text(pointer).ok_or_else(|| missing(pointer))?),
            None => fallback_id(),
        };
        let mut envelope = Envelope::new(id, Name::from(name), 0, Name::from_static(""));
        envelope.attributes_mut().time = published;
        Ok((envelope, data))
    }

    #[cfg(not(feature = "json"))]
    pub(crate) fn read(
        &self,
        _body: &Bytes,
        _fallback_id: impl FnOnce() -> EventId,
        _published: Option<Timestamp>,
    ) -> Result<(Envelope, Bytes), DecodeError> {
        Err(DecodeError::unmapped(&self.topic, "feature json is off"))
    }
}

/// What happens to a group after a dead letter (contract O4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterDeadLetter {
    /// Later events of the key go on.
    #[default]
    Continue,
    /// The whole group stops, until the program starts again.
    StopGroup,
    /// Later events of the key wait behind it. Refused at start until they can be kept durably.
    ParkKey,
}

/// A classifier: looks at a failure and may name its class.
pub(crate) type Classifier = std::sync::Arc<dyn Fn(&Failure) -> Option<Class> + Send + Sync>;

/// Settings of one group.
#[derive(Clone)]
pub(crate) struct GroupSettings {
    pub(crate) concurrency: usize,
    pub(crate) window: usize,
    pub(crate) window_bytes: usize,
    pub(crate) queue: Option<usize>,
    pub(crate) deadline: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) dedup: DedupPolicy,
    pub(crate) pause: PausePolicy,
    pub(crate) dead_letters: bool,
    pub(crate) after_dead_letter: AfterDeadLetter,
    pub(crate) ordered: bool,
    pub(crate) reordering_retry: bool,
    pub(crate) exact: bool,
    pub(crate) start: Start,
    pub(crate) mode: Mode,
    pub(crate) emits_in_replay: bool,
    pub(crate) classifiers: Vec<Classifier>,
    pub(crate) layers: Vec<std::sync::Arc<dyn crate::pipeline::Middleware>>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            window: 256,
            window_bytes: 64 * 1024 * 1024,
            queue: None,
            deadline: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            dedup: DedupPolicy::default(),
            pause: PausePolicy::default(),
            dead_letters: true,
            after_dead_letter: AfterDeadLetter::Continue,
            ordered: true,
            reordering_retry: false,
            exact: false,
            start: Start::Earliest,
            mode: Mode::AtLeastOnce,
            emits_in_replay: false,
            classifiers: Vec::new(),
            layers: Vec::new(),
        }
    }
}

impl GroupSettings {
    /// Everything wrong with them, each naming the setting, its value and the fix (misuse 15, 17).
    pub(crate) fn check(&self, group: &str, usual: &RetryPolicy) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut zero = |name: &str, is_zero: bool| {
            if is_zero {
                wrong.push(format!("{name} is 0: use 1 or more"));
            }
        };
        zero("concurrency", self.concurrency == 0);
        zero("window", self.window == 0);
        zero("window bytes", self.window_bytes == 0);
        zero("queue length", self.queue == Some(0));
        if self.deadline.is_zero() {
            wrong.push(String::from(
                "deadline is 0 s: no attempt could succeed; use 1 ms or more",
            ));
        }
        wrong.extend(self.retry.check().err().into_iter().flatten());
        wrong.extend(self.dedup.check().err().into_iter().flatten());
        wrong.extend(self.pause.check().err().into_iter().flatten());
        if self.after_dead_letter == AfterDeadLetter::ParkKey {
            wrong.push(String::from(
                "ParkKey cannot be kept durably yet: use Continue or StopGroup",
            ));
        }
        if let Start::Offset(offset @ ..0) = self.start {
            wrong.push(format!("start offset is {offset}: use 0 or more"));
        }
        if self.mode == Mode::AtMostOnce && self.retry != *usual {
            wrong.push(String::from(
                "at_most_once makes one attempt: leave out the group's own `retry`",
            ));
        }
        if self.mode == Mode::AtMostOnce && self.reordering_retry {
            wrong.push(String::from(
                "at_most_once makes one attempt: leave out `reordering_retry`",
            ));
        }
        if !self.dedup.is_off() && wrong.is_empty() {
            wrong.extend(self.dedup.check_covers(self.horizon()).err());
        }
        wrong
            .into_iter()
            .map(|text| format!("group {group:?}: {text}"))
            .collect()
    }

    /// What they ask for and the transport lacks, where the bus cannot do it instead (house
    /// rule 14).
    pub(crate) fn check_against(
        &self,
        group: &str,
        system: &str,
        able: &Capabilities,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.ordered && !able.order {
            wrong.push(format!(
                "transport {system} keeps no order per key: make the group `.unordered()`"
            ));
        }
        if matches!(self.start, Start::At(_) | Start::Offset(_)) && !able.replay {
            wrong.push(format!(
                "transport {system} keeps no history to start in: leave `start_at` out, or use a transport that can replay"
            ));
        }
        wrong
            .into_iter()
            .map(|text| format!("group {group:?}: {text}"))
            .collect()
    }

    /// How long after its first attempt an event may be tried again.
    fn horizon(&self) -> Duration {
        self.deadline
            .saturating_mul(self.retry.attempts)
            .saturating_add(self.retry.longest_backoff())
    }
}

impl std::fmt::Debug for GroupSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupSettings")
            .field("concurrency", &self.concurrency)
            .field("window", &self.window)
            .field("window_bytes", &self.window_bytes)
            .field("queue", &self.queue)
            .field("deadline", &self.deadline)
            .field("retry", &self.retry)
            .field("dedup", &self.dedup)
            .field("pause", &self.pause)
            .field("dead_letters", &self.dead_letters)
            .field("after_dead_letter", &self.after_dead_letter)
            .field("ordered", &self.ordered)
            .field("reordering_retry", &self.reordering_retry)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
