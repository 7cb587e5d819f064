//! Consumers come and go; messages stay.

use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;

use super::{DURABLE, GROUPS, ORDER, cases};
use crate::kit::{
    Failure, Scene, Seen, Spec, Tally, Verdict, broken, check_order, drain, ensure, key_text, post,
    read,
};

cases! { "resume":
    close_and_continue ["S2"] ();
    concurrent_close_and_open ["D1"] (GROUPS);
    cancel_a_receive_future ["Consumer::receive"] ();
    rebalance_while_handling ["O1"] (ORDER, GROUPS);
    messages_outlive_their_handle ["P2"] (DURABLE);
}

/// S2: read in slices by fresh consumers, each closed in good order: nothing is lost, and what was
/// acked is not repeated.
async fn close_and_continue(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("slices");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    link.declare(&[&spec]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut tally = Tally::default();
    while tally.unique() < count {
        let mut member = link.join(&spec).await?;
        for _ in 0..10.min(count - tally.unique()) {
            let received = member.expect("the next of a slice").await?;
            let seq = read(&received)?;
            ensure!(
                seq == tally.unique(),
                "message {seq} came after {} slices' end",
                tally.unique()
            );
            tally.add(seq);
            received.ack();
        }
        member.close().await?;
    }
    link.join(&spec)
        .await?
        .nothing_more("all were acked before")
        .await?;
    tally.exactly(count)
}

/// D1: ten members opened and closed at once leave nothing behind; the one after them gets all.
async fn concurrent_close_and_open(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(50);
    let topic = scene.name("revolving");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    link.declare(&[&spec]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut tasks = JoinSet::new();
    for number in 0..10 {
        let (link, spec) = (link.clone(), spec.clone());
        tasks.spawn(async move {
            let mut member = link.join(&spec).await?;
            if number % 2 == 0 {
                // Some of them get so far as to hold something.
                drop(member.within(Duration::from_millis(number)).await?);
            }
            member.close().await
        });
    }
    scene.step("ten members to be opened and closed");
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| broken(format!("a member ended: {error}")))??;
    }
    let member = link.join(&spec).await?;
    let seen = drain(&scene, vec![member], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    check_order(&seen)
}

/// `Consumer::receive`, cancel safety: dropping its future, at once or while it waits, loses
/// nothing.
async fn cancel_a_receive_future(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(200);
    let topic = scene.name("cancelled");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(8);
    let mut member = link.start(&spec).await?;
    let publish = async {
        for seq in 0..count {
            link.publish(post(&topic, Some("k"), seq)).await?;
            if seq % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok::<(), Failure>(())
    };
    let receive = async {
        let mut seqs = Vec::with_capacity(count);
        while seqs.len() < count {
            scene.step(format!(
                "message {} of {count}, each receive cancelled once",
                seqs.len()
            ));
            // Polled once and dropped, or dropped in the middle of its wait.
            let cancelled = match seqs.len() % 2 {
                0 => member.next().now_or_never().transpose()?,
                _ => member.within(Duration::from_micros(200)).await?,
            };
            let received = match cancelled {
                Some(received) => received,
                None => member.next().await?,
            };
            seqs.push(read(&received)?);
            received.ack();
        }
        Ok(seqs)
    };
    let ((), mut seqs) = futures::try_join!(publish, receive)?;
    seqs.extend(member.ack_rest().await?);
    Tally::from_iter(seqs.iter().copied()).exactly(count)?;
    ensure!(
        seqs.is_sorted(),
        "cancelled receives changed the order of a key"
    );
    Ok(())
}

/// O1, D3, D4: while members join and leave under load, everything comes, and the first
/// deliveries of each key in order.
async fn rebalance_while_handling(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(500);
    let topic = scene.name("moving");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(16);
    link.declare(&[&spec]).await?;
    let (sender, mut log) = tokio::sync::mpsc::channel::<Seen>(1_024);
    let mut tasks: JoinSet<Result<(), Failure>> = JoinSet::new();
    for number in 0..3_usize {
        let (link, spec, sender) = (link.clone(), spec.clone(), sender.clone());
        tasks.spawn(async move {
            // Each stays for a while, leaves with some messages in hand, and comes back.
            loop {
                let mut member = link.join(&spec).await?;
                for turn in 0..20 + 10 * number {
                    let received = member.next().await?;
                    let seen = Seen {
                        topic: received.topic.clone(),
                        key: key_text(&received),
                        seq: read(&received)?,
                        member: number,
                    };
                    if turn % 7 == 3 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // A revoked one is somebody else's by now.
                    let revoked = received.revoked().is_cancelled();
                    if !revoked && sender.send(seen).await.is_err() {
                        return Ok(());
                    }
                    received.ack();
                }
                member.close().await?;
            }
        });
    }
    drop(sender);
    let publish = async {
        for seq in 0..count {
            link.publish(post(&topic, Some(&format!("k{}", seq % 16)), seq))
                .await?;
        }
        Ok::<(), Failure>(())
    };
    let watch = async {
        let mut tally = Tally::default();
        let mut firsts: Vec<Seen> = Vec::with_capacity(count);
        while tally.unique() < count {
            scene.step(format!("{count} messages, {} came so far", tally.unique()));
            let seen = tokio::select! {
                seen = log.recv() => seen.ok_or_else(|| broken("all members ended"))?,
                Some(ended) = tasks.join_next() => {
                    ended.map_err(|error: tokio::task::JoinError| {
                        broken(format!("a member's task ended: {error}"))
                    })??;
                    continue;
                }
            };
            let before = tally.unique();
            tally.add(seen.seq);
            if tally.unique() > before {
                firsts.push(seen);
            }
        }
        Ok::<_, Failure>((tally, firsts))
    };
    let ((), (tally, firsts)) = futures::try_join!(publish, watch)?;
    tally.at_least(count)?;
    check_order(&firsts)
}

/// P2: what one handle published and closed, another reads; the group is where it was.
async fn messages_outlive_their_handle(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("kept");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    let mut member = link.start(&spec).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..10 {
        member.expect_seq(seq).await?.ack();
    }
    member.close().await?;
    link.close(Duration::from_secs(5)).await.map_err(broken)?;
    drop(link);

    let link = scene.open().await?;
    link.declare(&[&spec]).await?;
    let member = link.join(&spec).await?;
    let seen = drain(&scene, vec![member], count - 10).await?;
    let seqs = (0..10).chain(seen.iter().map(|seen| seen.seq));
    Tally::from_iter(seqs).exactly(count)
}
