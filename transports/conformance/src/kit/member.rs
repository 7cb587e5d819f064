use std::collections::VecDeque;
use std::time::Duration;

use tidings_transport::{Batch, DynConsumer, Name, Received, Signal};

use super::{Failure, Scene, broken, chain, ensure, read};

/// Messages asked for at once.
const BATCH: usize = 64;

/// A member of a group, read one message at a time.
pub(crate) struct Member {
    scene: Scene,
    group: Name,
    consumer: Box<dyn DynConsumer>,
    // Filled by a `receive` that may be dropped at any time.
    batch: Batch,
    ready: VecDeque<Received>,
    ended: Option<Signal>,
}

impl Member {
    pub(super) fn new(scene: Scene, group: Name, consumer: Box<dyn DynConsumer>) -> Self {
        Self {
            scene,
            group,
            consumer,
            batch: Batch::default(),
            ready: VecDeque::new(),
            ended: None,
        }
    }

    /// What a replay's member says once all is settled.
    pub(crate) async fn expect_end(&mut self) -> Result<(), Failure> {
        self.scene.step(format!("the end of {}", self.group));
        ensure!(
            self.poll().await?.is_none(),
            "more came than there was to replay"
        );
        ensure!(
            self.ended == Some(Signal::End),
            "{} ended with {:?}",
            self.group,
            self.ended
        );
        Ok(())
    }

    /// The next message. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Received, Failure> {
        match self.poll().await? {
            Some(received) => Ok(received),
            None => Err(broken(format!(
                "the consumer of group {} was closed",
                self.group
            ))),
        }
    }

    /// The next message, or `None` once the consumer was closed or has come to its end.
    pub(crate) async fn poll(&mut self) -> Result<Option<Received>, Failure> {
        loop {
            self.ready.extend(self.batch.drain());
            if let Some(received) = self.ready.pop_front() {
                return Ok(Some(received));
            }
            let signal = self
                .consumer
                .receive(BATCH, &mut self.batch)
                .await
                .map_err(|error| {
                    broken(format!(
                        "receive of group {} failed: {}",
                        self.group,
                        chain(&error)
                    ))
                })?;
            ensure!(
                self.batch.len() <= BATCH,
                "receive appended {} messages, {BATCH} were asked for",
                self.batch.len()
            );
            match signal {
                Signal::Batch => ensure!(
                    !self.batch.is_empty(),
                    "receive reported a batch and appended nothing"
                ),
                // Its tokens say so too; what was revoked comes again, here or elsewhere.
                Signal::Revoked(_) => {}
                Signal::Closed => {
                    self.ended = Some(Signal::Closed);
                    return Ok(None);
                }
                Signal::End => {
                    self.ended = Some(Signal::End);
                    return Ok(None);
                }
            }
        }
    }

    /// As [`next`](Self::next), saying what is waited for.
    pub(crate) async fn expect(&mut self, what: &str) -> Result<Received, Failure> {
        self.scene.step(format!("{what} (group {})", self.group));
        self.next().await
    }

    /// As [`expect`](Self::expect), for the message that must come now.
    pub(crate) async fn expect_seq(&mut self, seq: usize) -> Result<Received, Failure> {
        let received = self.expect(&format!("message {seq}")).await?;
        let found = read(&received)?;
        ensure!(
            found == seq,
            "message {found} came where message {seq} was due"
        );
        Ok(received)
    }

    /// The next `count` messages, unsettled.
    pub(crate) async fn take(&mut self, count: usize) -> Result<Vec<Received>, Failure> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let what = format!("message {} of {count}", taken.len() + 1);
            taken.push(self.expect(&what).await?);
        }
        Ok(taken)
    }

    /// A message that comes within this time.
    pub(crate) async fn within(&mut self, time: Duration) -> Result<Option<Received>, Failure> {
        match tokio::time::timeout(time, self.next()).await {
            Ok(received) => received.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Fails if anything comes before the silence is believed.
    pub(crate) async fn nothing_more(&mut self, why: &str) -> Result<(), Failure> {
        match self.within(self.scene.quiet()).await? {
            Some(received) => Err(broken(format!(
                "group {} got message {} although {why}",
                self.group,
                read(&received)?
            ))),
            None => Ok(()),
        }
    }

    /// Receives and acks everything that comes until there is silence.
    pub(crate) async fn ack_rest(&mut self) -> Result<Vec<usize>, Failure> {
        let mut seqs = Vec::new();
        while let Some(received) = self.within(self.scene.quiet()).await? {
            seqs.push(read(&received)?);
            received.ack();
        }
        Ok(seqs)
    }

    /// Leaves the group in good order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.scene
            .step(format!("a member of group {} to close", self.group));
        let Self {
            consumer,
            batch,
            ready,
            ..
        } = self;
        // What this member had but nobody asked for goes back.
        drop((batch, ready));
        Ok(consumer.close(Duration::from_secs(5)).await?)
    }

    /// Leaves the group while somebody still holds its messages.
    pub(crate) async fn close_within(self, deadline: Duration) -> Result<(), String> {
        self.scene.step(format!(
            "a member of group {} to close by {deadline:?}",
            self.group
        ));
        let Self {
            consumer,
            batch,
            ready,
            ..
        } = self;
        drop((batch, ready));
        consumer
            .close(deadline)
            .await
            .map_err(|error| chain(&error))
    }
}
