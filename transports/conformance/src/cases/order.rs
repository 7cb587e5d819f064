//! What shares a key comes in the order it was published in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tidings_transport::{Message, Name, Received};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{GROUPS, ORDER, cases};
use crate::kit::{
    Failure, Scene, Seen, Spec, Tally, Verdict, broken, check_order, ensure, key_text, post,
    publish_while_draining, read,
};

cases! { "order":
    fifo_per_key_one_consumer ["P5"] (ORDER);
    fifo_per_key_ten_consumers ["O1"] (ORDER, GROUPS);
    fifo_per_key_under_concurrency ["O1"] (ORDER);
    nothing_new_before_the_ack ["O2"] ();
    a_key_stays_with_one_member_until_settled ["O1"] (ORDER, GROUPS);
    released_comes_before_newer ["O1"] (ORDER);
}

const KEYS: usize = 16;

/// P5: 1,000 messages in 16 keys, read by one consumer.
async fn fifo_per_key_one_consumer(scene: Scene) -> Verdict {
    fifo_per_key(scene, 1).await
}

/// O1: the same with ten members of one ordered group.
async fn fifo_per_key_ten_consumers(scene: Scene) -> Verdict {
    fifo_per_key(scene, 10).await
}

async fn fifo_per_key(scene: Scene, members: usize) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(1_000);
    let topic = scene.name("fifo");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    link.declare(&[&spec]).await?;
    let members = try_join_all((0..members).map(|_| link.join(&spec))).await?;
    let messages = in_keys(&topic, count);
    let seen = publish_while_draining(&link, messages, members, count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    check_order(&seen)
}

/// O1: with a lane per key and handlers that take their time, so that messages are settled in any
/// order across keys, each key still comes in order.
async fn fifo_per_key_under_concurrency(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(1_000);
    let topic = scene.name("lanes");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let publish = async {
        for message in in_keys(&topic, count) {
            link.publish(message).await?;
        }
        Ok::<(), Failure>(())
    };
    let handle = async {
        let log = Arc::new(Mutex::new(Vec::with_capacity(count)));
        let mut lanes: HashMap<String, mpsc::UnboundedSender<Received>> = HashMap::new();
        let mut tasks = JoinSet::new();
        for at in 0..count {
            let received = member.expect(&format!("message {at} of {count}")).await?;
            let lane = lanes.entry(key_text(&received)).or_insert_with(|| {
                // Bounded by the window: nothing here is settled.
                let (sender, receiver) = mpsc::unbounded_channel();
                tasks.spawn(lane(receiver, Arc::clone(&log)));
                sender
            });
            lane.send(received)
                .map_err(|_| broken("a lane ended before its messages"))?;
        }
        drop(lanes);
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| broken(format!("a lane ended: {error}")))??;
        }
        member.nothing_more("all were settled").await?;
        Ok(std::mem::take(
            &mut *log.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    };
    let ((), seen) = futures::try_join!(publish, handle)?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    check_order(&seen)
}

async fn lane(
    mut receiver: mpsc::UnboundedReceiver<Received>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> Result<(), Failure> {
    while let Some(received) = receiver.recv().await {
        let seen = Seen {
            topic: received.topic.clone(),
            key: key_text(&received),
            seq: read(&received)?,
            member: 0,
        };
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..1_500))).await;
        received.ack();
    }
    Ok(())
}

/// O2: with window 1 the second message is withheld until the first is settled.
async fn nothing_new_before_the_ack(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("one-by-one");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(1);
    let mut member = link.start(&spec).await?;
    link.send_all((0..3).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut seqs = Vec::new();
    for _ in 0..3 {
        let received = member.expect("the next message after an ack").await?;
        seqs.push(read(&received)?);
        member
            .nothing_more("the window of 1 is taken by an unsettled message")
            .await?;
        received.ack();
    }
    Tally::from_iter(seqs).exactly(3)
}

/// O1: while one member holds a message of a key, the other members of an ordered group get none
/// of it.
async fn a_key_stays_with_one_member_until_settled(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("sticky");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(4);
    link.declare(&[&spec]).await?;
    let mut members = try_join_all((0..3).map(|_| link.join(&spec))).await?;
    link.send_all((0..12).map(|seq| post(&topic, Some("k"), seq)))
        .await?;

    let mut next = 0;
    while next < 12 {
        // Whoever gets the first holds it while the others are asked.
        let mut held: Vec<Received> = Vec::new();
        let mut holder = None;
        scene.step(format!("message {next} at any member"));
        while held.is_empty() {
            for (number, member) in members.iter_mut().enumerate() {
                while let Some(received) = member.within(Duration::from_millis(20)).await? {
                    ensure!(
                        holder.is_none_or(|holder| holder == number),
                        "message {} went to a second member while message {next} was unsettled",
                        read(&received)?
                    );
                    holder = Some(number);
                    held.push(received);
                }
            }
        }
        for received in held {
            let seq = read(&received)?;
            ensure!(
                seq == next,
                "message {seq} came where message {next} was due"
            );
            next += 1;
            received.ack();
        }
    }
    Ok(())
}

/// O1: a message that was given back comes again before newer ones of its key, alone and together
/// with others.
async fn released_comes_before_newer(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("again");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(3);
    let mut member = link.start(&spec).await?;
    link.send_all((0..9).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for first in [0, 3, 6] {
        for _ in 0..2 {
            let mut held = Vec::new();
            for seq in first..first + 3 {
                held.push(member.expect_seq(seq).await?);
            }
            held.into_iter().for_each(Received::release);
        }
        for seq in first..first + 3 {
            member.expect_seq(seq).await?.ack();
        }
    }
    member.nothing_more("all were acked").await
}

fn in_keys(topic: &Name, count: usize) -> Vec<Message> {
    (0..count)
        .map(|seq| post(topic, Some(&format!("k{}", seq % KEYS)), seq))
        .collect()
}
