//! A message is final when it was acked, and comes again until then.

use std::time::{Duration, Instant};

use tidings_transport::{ErrorKind, Mode};
use tokio::task::JoinSet;

use super::{ATTEMPTS, DELAY, GROUPS, LAG, cases};
use crate::kit::{Failure, Member, Scene, Spec, Tally, Verdict, broken, drain, ensure, post, read};

cases! { "settle":
    release_redelivers ["D1"] ();
    keeps_going_after_errors ["D1"] (GROUPS);
    unsettled_drop_redelivers ["D2"] ();
    a_release_changes_nothing ["D2"] ();
    attempt_count ["R1"] (ATTEMPTS);
    delay_not_early ["Message::delay"] (DELAY);
    a_message_has_one_owner ["D4"] ();
    at_most_once_repeats_nothing ["D9"] ();
    lag_counts_what_is_not_final ["Transport::lag"] (LAG);
}

/// D1: after two releases all 100 still arrive, and each is final once.
async fn release_redelivers(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("released");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    let mut member = link.start(&spec).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for _ in 0..2 {
        member.expect("a message to release").await?.release();
    }
    let seen = drain(&scene, vec![member], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

/// D1: three members give back 100 times each; none starves, and the one after them gets all.
async fn keeps_going_after_errors(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("failing");
    let spec = Spec::new(scene.name("g"), &[&topic])
        .unordered()
        .window(8)
        .room_for(count);
    link.declare(&[&spec]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut members = JoinSet::new();
    for _ in 0..3 {
        members.spawn(release_many(link.join(&spec).await?, 100));
    }
    scene.step("three members that give back 100 messages each");
    while let Some(ended) = members.join_next().await {
        ended.map_err(|error| broken(format!("a member ended: {error}")))??;
    }
    let member = link.join(&spec).await?;
    let seen = drain(&scene, vec![member], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

async fn release_many(mut member: Member, times: usize) -> Result<(), Failure> {
    for _ in 0..times {
        member.next().await?.release();
    }
    member.close().await
}

/// D2: a message that is dropped without a word comes again.
async fn unsettled_drop_redelivers(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("forgotten");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    drop(member.take(10).await?);
    let seen = drain(&scene, vec![member], 10).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(10)
}

/// D2: what was given back comes again unchanged.
async fn a_release_changes_nothing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("unchanged");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let mut message = post(&topic, Some("k"), 0);
    message.headers.push("a", "1");
    message.headers.push("a", "2");
    let headers = message.headers.clone();
    link.send(message).await?;
    let first = member.expect_seq(0).await?;
    let (envelope, key) = (crate::kit::envelope(&first)?, first.key.clone());
    first.release();
    let again = member.expect_seq(0).await?;
    ensure!(
        again.headers == headers && again.key == key,
        "headers {headers:?} and key {key:?} came again as {:?} and {:?}",
        again.headers,
        again.key
    );
    let found = crate::kit::envelope(&again)?;
    ensure!(
        found == envelope,
        "envelope {envelope:?} came again as {found:?}"
    );
    again.ack();
    Ok(())
}

/// R1: the first delivery is attempt 1, each further one counts up, other messages are untouched.
async fn attempt_count(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("counted");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(1);
    let mut member = link.start(&spec).await?;
    link.send_all((0..2).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..2 {
        for attempt in 1..=4 {
            let received = member.expect_seq(seq).await?;
            let found = received.origination.attempt;
            ensure!(
                found == attempt,
                "delivery {attempt} of message {seq} says it is attempt {found}"
            );
            match attempt {
                4 => received.ack(),
                2 => drop(received),
                _ => received.release(),
            }
        }
    }
    Ok(())
}

/// `Message::delay`: never before it is due, and not never; what has no delay need not wait.
async fn delay_not_early(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("delayed");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let delays = [300, 0, 100, 200].map(Duration::from_millis);
    let mut due = Vec::new();
    for (seq, delay) in delays.into_iter().enumerate() {
        // Different keys: a delay gives up the order of its own key.
        let mut message = post(&topic, Some(&format!("k{seq}")), seq);
        message.delay = (!delay.is_zero()).then_some(delay);
        due.push(Instant::now() + delay);
        link.send(message).await?;
    }
    let asked_early = due.iter().filter(|due| **due > Instant::now()).count() == 3;
    let mut came = Vec::new();
    for _ in delays {
        let received = member.expect("a delayed message").await?;
        let seq = read(&received)?;
        let early = due
            .get(seq)
            .map(|due| due.saturating_duration_since(Instant::now()));
        ensure!(
            early.is_some_and(|early| early.is_zero()),
            "message {seq} with delay {:?} came {early:?} before it was due",
            delays.get(seq)
        );
        came.push(seq);
        received.ack();
    }
    member.nothing_more("all came").await?;
    Tally::from_iter(came.iter().copied()).exactly(delays.len())?;
    // Asked when nothing else was due, the transport had only this one to give.
    ensure!(
        !asked_early || came.first() == Some(&1),
        "the message without a delay waited for the others: {came:?}"
    );
    Ok(())
}

/// D4, D5: a message has one owner at a time. When a member left without settling, either its
/// messages were revoked, and then their tokens have fired and a late settle changes nothing; or
/// they are still its own, and then nobody else gets them before they are settled.
async fn a_message_has_one_owner(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("late");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    let mut member = link.start(&spec).await?;
    link.send_all((0..2).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut old = member.take(2).await?;
    // Whether giving up what is held counts as an error is the transport's choice.
    let _ = member.close_within(Duration::from_millis(200)).await;
    let mut successor = link.join(&spec).await?;
    let mut new = Vec::new();
    while let Some(received) = successor.within(scene.quiet()).await? {
        new.push(received);
    }
    let (stale, fresh) = (old.remove(0), old.remove(0));
    if new.is_empty() {
        stale.ack();
        fresh.release();
        successor.expect_seq(1).await?.ack();
        return successor
            .nothing_more("message 0 was acked by the member that held it")
            .await;
    }
    ensure!(
        stale.revoked().is_cancelled() && fresh.revoked().is_cancelled(),
        "a second member got messages that the first one holds, and no token has fired"
    );
    stale.ack();
    fresh.release();
    successor
        .nothing_more("both are held by this member")
        .await?;
    // Had the late ack counted, this release would come to nothing.
    new.into_iter().for_each(|received| received.release());
    for seq in 0..2 {
        successor.expect_seq(seq).await?.ack();
    }
    successor.nothing_more("both were acked").await
}

/// D9: at most once, what was handed over is never repeated, whatever becomes of it.
async fn at_most_once_repeats_nothing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("once");
    let mut spec = Spec::new(scene.name("g"), &[&topic]).window(4);
    spec.mode = Mode::AtMostOnce;
    link.declare(&[&spec]).await?;
    let mut member = match link.try_join(&spec).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Err(Failure::Inapplicable(format!(
                "refused by the transport: {error}"
            )));
        }
        joined => joined?,
    };
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut seqs = Vec::new();
    let mut held = member.take(3).await?;
    for received in &held {
        seqs.push(read(received)?);
    }
    held.remove(0).ack();
    held.remove(0).release();
    // Held while its member is gone.
    drop(member);
    drop(held);
    let mut successor = link.join(&spec).await?;
    seqs.extend(successor.ack_rest().await?);
    let tally = Tally::from_iter(seqs.iter().copied());
    tally.no_repeats(10)?;
    // At most a window is lost with the member.
    ensure!(
        tally.unique() >= 6,
        "only {seqs:?} came of 10, the window was 4"
    );
    Ok(())
}

/// `Transport::lag`: published and not yet final, handed over or not.
async fn lag_counts_what_is_not_final(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("lagging");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    let mut member = link.start(&spec).await?;
    let behind = async |expected: u64| {
        let group = spec.name.clone();
        let what = format!("a lag of {expected}, it is {}", link.behind(&group).await?);
        let link = link.clone();
        link.scene
            .until(&what, || async {
                Ok(link.behind(&group).await? == expected)
            })
            .await
    };
    behind(0).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    behind(10).await?;
    let mut held = member.take(6).await?;
    behind(10).await?;
    held.drain(..4).for_each(|received| received.ack());
    behind(6).await?;
    held.into_iter().for_each(|received| received.release());
    behind(6).await?;
    ensure!(
        member.ack_rest().await?.len() == 6,
        "not all of the rest came"
    );
    behind(0).await
}
