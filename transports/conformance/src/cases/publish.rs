//! What is published arrives: all of it, once, where it belongs, in order.

use futures::future::try_join_all;
use tidings_transport::{Message, Name, Origin, TryPublish};

use super::{GROUPS, ORDER, RETAINS, cases};
use crate::kit::{
    Link, Scene, Spec, Tally, Verdict, check_order, drain, ensure, post, publish_while_draining,
    read,
};

cases! { "publish":
    published_before_subscribing ["P2"] (RETAINS);
    many_publishers_many_subscribers ["D1"] (GROUPS);
    many_topics_at_once ["D1"] ();
    topics_do_not_cross ["D1"] ();
    pipelining_keeps_key_order ["P5"] (ORDER);
    try_publish_never_overtakes ["P5"] (ORDER);
}

/// P2: 100 messages that were sent before any group existed all arrive, payload and headers equal.
async fn published_before_subscribing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("early");
    link.declare_topics(&[&topic]).await?;
    let message = |seq| {
        let mut message = post(&topic, Some("k"), seq);
        message.headers.push("seq", seq.to_string());
        message
    };
    link.send_all((0..count).map(message)).await?;

    let spec = Spec::new(scene.name("late"), &[&topic]).room_for(count);
    let mut member = link.start(&spec).await?;
    let mut tally = Tally::default();
    for _ in 0..count {
        let received = member.expect("a message from before").await?;
        let seq = read(&received)?;
        ensure!(
            received.headers.get_str("seq") == Some(seq.to_string().as_str()),
            "message {seq} came with headers {:?}",
            received.headers
        );
        tally.add(seq);
        received.ack();
    }
    member.nothing_more("all came").await?;
    tally.exactly(count)
}

/// D1: 5,000 messages from 50 publishers over the 50 members of one group: every one, none twice.
async fn many_publishers_many_subscribers(scene: Scene) -> Verdict {
    const PUBLISHERS: usize = 50;
    const MEMBERS: usize = 50;
    let link = scene.open().await?;
    let each = scene.scaled(100);
    let topic = scene.name("busy");
    let spec = Spec::new(scene.name("crowd"), &[&topic]).unordered();
    link.declare(&[&spec]).await?;
    let members = try_join_all((0..MEMBERS).map(|_| link.join(&spec))).await?;

    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (link, topic) = (link.clone(), topic.clone());
        publishers.spawn(async move {
            for at in 0..each {
                let seq = publisher * each + at;
                let key = format!("k{}", seq % 97);
                link.publish(post(&topic, Some(&key), seq)).await?;
            }
            Ok::<(), crate::kit::Failure>(())
        });
    }
    let total = PUBLISHERS * each;
    let seen = drain(&scene, members, total).await?;
    for published in publishers.join_all().await {
        published?;
    }
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(total)
}

/// D1: 20 topics at once, each complete and each to its own group alone.
async fn many_topics_at_once(scene: Scene) -> Verdict {
    const TOPICS: usize = 20;
    let link = scene.open().await?;
    let count = scene.scaled(50);
    let specs: Vec<Spec> = (0..TOPICS)
        .map(|number| {
            let topic = scene.name(&format!("topic{number}"));
            Spec::new(scene.name(&format!("group{number}")), &[&topic])
        })
        .collect();
    link.declare(&specs.iter().collect::<Vec<_>>()).await?;
    let each = specs.iter().map(|spec| only_its_own(&link, spec, count));
    try_join_all(each).await?;
    Ok(())
}

async fn only_its_own(link: &Link, spec: &Spec, count: usize) -> Verdict {
    let topic = &spec.topics.exact[0];
    let member = link.join(spec).await?;
    let messages = (0..count).map(|seq| post(topic, Some("k"), seq)).collect();
    let seen = publish_while_draining(link, messages, vec![member], count).await?;
    let stranger = seen.iter().find(|seen| seen.topic != *topic);
    ensure!(
        stranger.is_none(),
        "group {} of {topic} got {stranger:?}",
        spec.name
    );
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

/// D1: topics with similar names stay apart, and a group over two of them gets both.
async fn topics_do_not_cross(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(20);
    let stem = scene.name("a");
    let topics: Vec<Name> = ["", ".b", "-b", ".b.c"]
        .iter()
        .map(|end| Name::from(format!("{stem}{end}")))
        .collect();
    let mut specs: Vec<Spec> = topics
        .iter()
        .map(|topic| Spec::new(scene.name("one"), &[topic]).room_for(2 * count))
        .collect();
    let two = [&topics[0], &topics[1]];
    specs.push(Spec::new(scene.name("two"), &two).room_for(2 * count));
    link.declare(&specs.iter().collect::<Vec<_>>()).await?;
    for topic in &topics {
        link.send_all((0..count).map(|seq| post(topic, Some("k"), seq)))
            .await?;
    }
    for spec in &specs {
        let wanted = &spec.topics.exact;
        let member = link.join(spec).await?;
        let seen = drain(&scene, vec![member], wanted.len() * count).await?;
        let stranger = seen.iter().find(|seen| !wanted.contains(&seen.topic));
        ensure!(stranger.is_none(), "a group of {wanted:?} got {stranger:?}");
        for topic in wanted {
            let own = seen.iter().filter(|seen| seen.topic == *topic);
            Tally::from_iter(own.map(|seen| seen.seq)).exactly(count)?;
        }
    }
    Ok(())
}

/// P5: 1,000 publishes of one key in flight at once keep the order of their first polls, although
/// the queue, where the transport has one, is far too short for them.
async fn pipelining_keeps_key_order(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(1_000);
    let topic = scene.name("pipelined");
    let spec = Spec::new(scene.name("g"), &[&topic]).queue(64);
    let member = link.start(&spec).await?;

    let mut in_flight: Vec<_> = (0..count)
        .map(|seq| Box::pin(link.publish(post(&topic, Some("k"), seq))))
        .collect();
    let mut done = Vec::with_capacity(count);
    for publish in &mut in_flight {
        done.push(futures::poll!(publish));
    }
    let mut waiting = Vec::new();
    for (publish, done) in in_flight.into_iter().zip(done) {
        match done {
            std::task::Poll::Ready(published) => drop(published?),
            std::task::Poll::Pending => waiting.push(publish),
        }
    }
    let publish_rest = async {
        try_join_all(waiting).await?;
        Ok(())
    };
    let ((), seen) = futures::try_join!(publish_rest, drain(&scene, vec![member], count))?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    check_order(&seen)
}

/// P5: while publishes of a key wait for room, `try_publish` of that key never goes ahead of them,
/// and what it hands back is the message unchanged.
async fn try_publish_never_overtakes(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(50);
    let topic = scene.name("overtaking");
    let spec = Spec::new(scene.name("g"), &[&topic]).queue(4);
    let member = link.start(&spec).await?;
    let publish = async {
        for seq in (0..2 * count).step_by(2) {
            let mut waiting = Box::pin(link.publish(post(&topic, Some("k"), seq)));
            let first = futures::poll!(&mut waiting);
            let message = post(&topic, Some("k"), seq + 1);
            let attempt = link.transport.try_publish(message, &Origin::default());
            if let std::task::Poll::Ready(published) = first {
                published?;
            } else {
                waiting.await?;
            }
            match attempt {
                TryPublish::Done(_) => {}
                TryPublish::Wait(message) => {
                    unchanged(&message, &topic, seq + 1)?;
                    link.publish(message).await?;
                }
                TryPublish::Refused(error, _) => return Err(error.into()),
            }
        }
        Ok(())
    };
    let ((), seen) = futures::try_join!(publish, drain(&scene, vec![member], 2 * count))?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(2 * count)?;
    check_order(&seen)
}

fn unchanged(message: &Message, topic: &Name, seq: usize) -> Verdict {
    let expected = post(topic, Some("k"), seq);
    let same = match (&message.payload, &expected.payload) {
        (tidings_transport::Payload::Bytes(a), tidings_transport::Payload::Bytes(b)) => a == b,
        _ => false,
    };
    ensure!(
        same && message.topic == *topic && message.key == expected.key,
        "try_publish handed back something else than message {seq}: {message:?}"
    );
    Ok(())
}
