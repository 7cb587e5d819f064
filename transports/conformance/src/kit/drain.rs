use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tidings_transport::{Message, Name};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Failure, Link, Member, Scene, Verdict, broken, ensure, key_text, read};

/// One delivery, in the order of all deliveries of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) topic: Name,
    pub(crate) key: String,
    pub(crate) seq: usize,
    pub(crate) member: usize,
}

/// Receives, notes and acks on all members at once until `expected` messages came and then
/// nothing more did.
pub(crate) async fn drain(
    scene: &Scene,
    members: Vec<Member>,
    expected: usize,
) -> Result<Vec<Seen>, Failure> {
    let log = Arc::new(Mutex::new(Vec::with_capacity(expected)));
    let enough = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for (number, member) in members.into_iter().enumerate() {
        tasks.spawn(note_all(number, member, Arc::clone(&log), enough.clone()));
    }
    let count = || log.lock().unwrap_or_else(PoisonError::into_inner).len();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while count() < expected {
        scene.step(format!("{expected} messages, {} came so far", count()));
        tick.tick().await;
        // Nobody ends before it is told to, except by failing.
        if let Some(ended) = tasks.join_next().now_or_never().flatten() {
            joined(ended)?;
        }
    }
    // Extra ones would come about now.
    tokio::time::sleep(scene.quiet()).await;
    enough.cancel();
    while let Some(ended) = tasks.join_next().await {
        joined(ended)?;
    }
    let seen = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(seen)
}

/// Publishes one after the other, each Ok, while the members drain.
pub(crate) async fn publish_while_draining(
    link: &Link,
    messages: Vec<Message>,
    members: Vec<Member>,
    expected: usize,
) -> Result<Vec<Seen>, Failure> {
    let publish = async {
        for message in messages {
            link.publish(message).await?;
        }
        Ok(())
    };
    let ((), seen) = futures::try_join!(publish, drain(&link.scene, members, expected))?;
    Ok(seen)
}

/// Fails unless the numbers of each topic and key only grow.
pub(crate) fn check_order<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Verdict {
    let mut last: HashMap<(&Name, &str), usize> = HashMap::new();
    for Seen {
        topic, key, seq, ..
    } in seen
    {
        if let Some(before) = last.insert((topic, key), *seq) {
            ensure!(
                before < *seq,
                "key {key:?}: message {seq} came after message {before}"
            );
        }
    }
    Ok(())
}

async fn note_all(
    number: usize,
    mut member: Member,
    log: Arc<Mutex<Vec<Seen>>>,
    enough: CancellationToken,
) -> Result<(), Failure> {
    loop {
        let received = tokio::select! {
            received = member.next() => received?,
            () = enough.cancelled() => return Ok(()),
        };
        let seen = Seen {
            topic: received.topic.clone(),
            key: key_text(&received),
            seq: read(&received)?,
            member: number,
        };
        // Before the ack: whatever the ack lets go ahead is noted later.
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
        received.ack();
    }
}

fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.map_err(|error| broken(format!("a member's task ended: {error}")))?
}
