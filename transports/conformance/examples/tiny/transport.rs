//! The transport itself: checks, then the queues.

use std::sync::Arc;
use std::time::Duration;

use tidings_transport::{
    Capabilities, CloseReport, Declare, ErrorKind, GroupTopology, Health, Interest, Lag, Message,
    Mode, Name, Origin, PublishError, Reason, Receipt, Subscribe, Topics, Topology, Transport,
    TransportError, TryPublish, Wire,
};

use super::consume::{TinyBrowser, TinyConsumer};
use super::queues::{Shared, error, full};

const MAX_BODY: usize = 1024 * 1024;
const MAX_HEADERS: usize = 16 * 1024;
const PUBLISH_DEADLINE: Duration = Duration::from_secs(30);

/// Queues in this process.
#[derive(Clone, Default)]
pub(crate) struct Tiny(Arc<Shared>);

impl Transport for Tiny {
    type Consumer = TinyConsumer;
    type Browser = TinyBrowser;

    fn system(&self) -> &'static str {
        "tiny"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            groups: true,
            browse: true,
            lag: true,
            ..Capabilities::none(MAX_BODY)
        }
    }

    async fn declare(&self, topology: &Topology) -> Result<(), TransportError> {
        self.0.open()?;
        for group in &topology.groups {
            match topology.declare {
                Declare::Create => self.0.attach(group)?,
                Declare::Verify if self.0.state().groups.contains_key(&group.name) => {}
                Declare::Verify => {
                    let text = format!("group {:?} does not exist: attach it", group.name);
                    return Err(error(ErrorKind::Missing, text));
                }
                Declare::Assume => {}
            }
        }
        Ok(())
    }

    fn attach(&self, group: &GroupTopology) -> Result<(), TransportError> {
        self.0.attach(group)
    }

    fn detach(&self, group: &Name, topics: &Topics) {
        let mut state = self.0.state();
        if let Some(queue) = state.groups.get_mut(group) {
            queue
                .topics
                .exact
                .retain(|topic| !topics.exact.contains(topic));
            queue
                .topics
                .patterns
                .retain(|pattern| !topics.patterns.contains(pattern));
            if queue.is_over() {
                state.groups.remove(group);
            }
        }
        drop(state);
        // What is queued is still delivered; then the group's consumer removes it.
        self.0.changed.notify_waiters();
    }

    fn interest(&self, _topic: &Name) -> Interest {
        Interest::unknown()
    }

    fn try_publish(&self, message: Message, origin: &Origin) -> TryPublish {
        let answer = checked(message.clone()).map(|wire| self.0.offer(&wire, origin));
        match answer {
            Ok(Some(Ok(receipt))) => TryPublish::Done(receipt),
            Ok(None) => TryPublish::Wait(message),
            Ok(Some(Err(error))) | Err(error) => TryPublish::Refused(error, message),
        }
    }

    async fn publish(&self, message: Message, origin: Origin) -> Result<Receipt, PublishError> {
        let wire = checked(message)?;
        let published = self.0.until(|| self.0.offer(&wire, &origin));
        // It is in no queue, and that is certain: NotPublished, not Unknown.
        let full = |_| Err(full(&wire.topic, false));
        tokio::time::timeout(PUBLISH_DEADLINE, published)
            .await
            .unwrap_or_else(full)
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<TinyConsumer, TransportError> {
        self.0.open()?;
        if subscribe.mode != Mode::AtLeastOnce {
            return Err(error(
                ErrorKind::Unsupported,
                "tiny delivers at least once only, and keeps no history",
            ));
        }
        if !self.0.state().groups.contains_key(&subscribe.group) {
            let text = format!("group {:?} does not exist: attach it", subscribe.group);
            return Err(error(ErrorKind::Missing, text));
        }
        Ok(TinyConsumer::new(Arc::clone(&self.0), subscribe))
    }

    async fn browse(&self, topic: &Name) -> Result<TinyBrowser, TransportError> {
        if !self.0.state().kept.contains_key(topic) {
            return Err(error(
                ErrorKind::Missing,
                format!("nothing is kept in {topic:?}"),
            ));
        }
        Ok(TinyBrowser::new(Arc::clone(&self.0), topic.clone()))
    }

    async fn lag(&self, group: &Name) -> Result<Vec<Lag>, TransportError> {
        let state = self.0.state();
        let Some(queue) = state.groups.get(group) else {
            let text = format!("group {group:?} does not exist: attach it");
            return Err(error(ErrorKind::Missing, text));
        };
        Ok(vec![Lag {
            topic: Name::from_static(""),
            partition: 0,
            end: queue.end,
            settled: queue.settled,
        }])
    }

    fn health(&self) -> Health {
        if self.0.closing.is_cancelled() {
            Health::Closed
        } else {
            Health::Connected
        }
    }

    async fn close(&self, deadline: Duration) -> Result<CloseReport, TransportError> {
        // First the tokens, so that handlers know; then everybody who waits.
        self.0.closing.cancel();
        self.0.changed.notify_waiters();
        let held = || {
            self.0
                .state()
                .groups
                .values()
                .map(|queue| queue.held)
                .sum::<usize>()
        };
        let settled = self.0.until(|| (held() == 0).then_some(()));
        if tokio::time::timeout(deadline, settled).await.is_err() {
            let text = format!("{} messages are unsettled after {deadline:?}", held());
            return Err(error(ErrorKind::Timeout, text));
        }
        let unsettled = self
            .0
            .state()
            .groups
            .values()
            .map(|queue| queue.ready.len())
            .sum();
        Ok(CloseReport {
            unflushed: 0,
            unsettled,
        })
    }
}

/// What is refused before any I/O (P6), and the message as it would go over a wire.
fn checked(message: Message) -> Result<Wire, PublishError> {
    let refused = |reason: Reason| Err(PublishError::not_published(reason));
    if message.topic.is_empty() || message.topic.len() > 249 {
        return refused(Reason::Invalid(format!(
            "topic {:?} has no 1 to 249 bytes",
            message.topic
        )));
    }
    if message.delay.is_some() {
        return refused(Reason::Unsupported(
            "tiny cannot delay: publish without".into(),
        ));
    }
    let wire = message.into_wire().map_err(PublishError::not_published)?;
    let size = wire.body.as_ref().map_or(0, |body| body.len());
    if size > MAX_BODY {
        return refused(Reason::TooLarge {
            size,
            limit: MAX_BODY,
        });
    }
    wire.headers
        .check(MAX_HEADERS)
        .map_err(PublishError::not_published)?;
    Ok(wire)
}
