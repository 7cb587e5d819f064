//! What is slow or stuck stays within its bounds and hurts nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidings_transport::{Payload, Received};
use tokio::task::JoinSet;

use super::{GROUPS, cases};
use crate::harness::Load;
use crate::kit::{Failure, Scene, Spec, Verdict, broken, drain, ensure, post};
use crate::report::Requirement;

cases! { "bounds":
    slow_consumer_bounds_memory ["M1"] (Requirement::ResidentBound);
    unsettled_stay_within_the_window ["M1"] ();
    one_stuck_subscriber_does_not_block_another_group ["D6"] (GROUPS);
    a_full_queue_delays_only_its_own_topics ["D6"] (GROUPS);
}

/// What the memory case does.
pub(crate) const LOAD: Load = Load {
    queue: 16,
    window: 8,
    publishers: 4,
    payload: 64 * 1024,
};

/// M1: with a consumer that is far slower than its publishers, payload bytes resident in this
/// process stay under the declared bound, all the time.
async fn slow_consumer_bounds_memory(scene: Scene) -> Verdict {
    let bound = scene
        .resident_bound(&LOAD)
        .ok_or_else(|| Failure::Inapplicable(String::from("the harness declares no bound")))?;
    let link = scene.open().await?;
    let count = scene.scaled(200);
    let topic = scene.name("flood");
    let spec = Spec::new(scene.name("g"), &[&topic])
        .window(LOAD.window)
        .queue(LOAD.queue);
    let mut member = link.start(&spec).await?;
    let resident = Arc::new(Resident::default());
    let mut publishers = JoinSet::new();
    for publisher in 0..LOAD.publishers {
        let (link, topic, resident) = (link.clone(), topic.clone(), Arc::clone(&resident));
        publishers.spawn(async move {
            for seq in (publisher..count).step_by(LOAD.publishers) {
                let mut message = post(&topic, Some(&format!("k{seq}")), seq);
                message.payload = Payload::Bytes(tracked(&resident, LOAD.payload));
                link.publish(message).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    let mut held = Vec::new();
    for at in 0..count {
        held.push(
            member
                .expect(&format!("message {at} of {count}, slowly"))
                .await?,
        );
        if held.len() == LOAD.window || at + 1 == count {
            // The publishers run as far ahead as they may.
            tokio::time::sleep(Duration::from_millis(2)).await;
            held.drain(..).for_each(Received::ack);
        }
    }
    while let Some(ended) = publishers.join_next().await {
        ended.map_err(|error| broken(format!("a publisher ended: {error}")))??;
    }
    let peak = resident.peak.load(Ordering::Relaxed);
    ensure!(
        peak <= bound,
        "{peak} payload bytes were resident, the declared bound is {bound}"
    );
    ensure!(peak > 0, "the case measured nothing");
    Ok(())
}

/// M1: never more unsettled messages of one key than the window, however many wait.
async fn unsettled_stay_within_the_window(scene: Scene) -> Verdict {
    const WINDOW: usize = 7;
    let link = scene.open().await?;
    let topic = scene.name("window");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(WINDOW);
    let mut member = link.start(&spec).await?;
    link.send_all((0..40).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut held = member.take(WINDOW).await?;
    member
        .nothing_more("the window is taken by unsettled messages")
        .await?;
    held.drain(..2).for_each(Received::ack);
    held.drain(..1).for_each(Received::release);
    held.extend(member.take(3).await?);
    member.nothing_more("the window is taken again").await?;
    held.into_iter().for_each(Received::ack);
    let rest = drain(&scene, vec![member], 40 - 2 - WINDOW).await?;
    ensure!(
        rest.len() == 40 - 2 - WINDOW,
        "{} came after the window opened",
        rest.len()
    );
    Ok(())
}

/// D6: a group that holds its messages for ever keeps no other group of the topic from its own.
async fn one_stuck_subscriber_does_not_block_another_group(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(200);
    let topic = scene.name("shared");
    let stuck = Spec::new(scene.name("stuck"), &[&topic])
        .window(4)
        .room_for(count);
    let well = Spec::new(scene.name("well"), &[&topic]).room_for(count);
    link.declare(&[&stuck, &well]).await?;
    let mut member = link.join(&stuck).await?;
    let other = link.join(&well).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let held = member.take(4).await?;
    let seen = drain(&scene, vec![other], count).await?;
    drop(held);
    ensure!(
        seen.len() == count,
        "{} of {count} came beside a stuck group",
        seen.len()
    );
    Ok(())
}

/// D6, P3: when a stuck group's queue is full, publishers of its topics wait; those of other
/// topics do not.
async fn a_full_queue_delays_only_its_own_topics(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(200);
    let (full, free) = (scene.name("full"), scene.name("free"));
    let stuck = Spec::new(scene.name("stuck"), &[&full]).queue(4).window(1);
    let well = Spec::new(scene.name("well"), &[&free]).room_for(count);
    link.declare(&[&stuck, &well]).await?;
    let other = link.join(&well).await?;
    let mut waiting: Vec<_> = (0..20)
        .map(|seq| Box::pin(link.publish(post(&full, Some("k"), seq))))
        .collect();
    for publish in &mut waiting {
        if let std::task::Poll::Ready(published) = futures::poll!(publish) {
            published?;
        }
    }
    link.send_all((0..count).map(|seq| post(&free, Some("k"), seq)))
        .await?;
    let seen = drain(&scene, vec![other], count).await?;
    ensure!(
        seen.len() == count,
        "{} of {count} came beside a full queue",
        seen.len()
    );
    drop(waiting);
    Ok(())
}

/// Counts payload bytes from their making to the drop of their last handle.
#[derive(Default)]
struct Resident {
    now: AtomicUsize,
    peak: AtomicUsize,
}

struct Tracked {
    bytes: Vec<u8>,
    resident: Arc<Resident>,
}

fn tracked(resident: &Arc<Resident>, size: usize) -> Bytes {
    let now = resident.now.fetch_add(size, Ordering::Relaxed) + size;
    resident.peak.fetch_max(now, Ordering::Relaxed);
    Bytes::from_owner(Tracked {
        bytes: vec![0; size],
        resident: Arc::clone(resident),
    })
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.resident
            .now
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
