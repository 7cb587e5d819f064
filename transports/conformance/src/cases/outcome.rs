//! A publish has three results, and each tells the truth.

use tidings_transport::{Capability, Name, PublishError, Reason, Receipt};

use super::{CONFIRMS, DURABLE, LOST_CONFIRMS, UNREACHABLE, cases};
use crate::harness::Fault;
use crate::kit::{
    Failure, Link, Scene, Spec, Tally, Verdict, broken, chain, drain, ensure, envelope, post, read,
};

cases! { "publish":
    confirmed_means_held ["P2"] (CONFIRMS, DURABLE);
    a_lost_confirm_is_unknown ["P1"] (CONFIRMS, LOST_CONFIRMS);
    unroutable_says_so ["P3"] ();
    unroutable_verdict_belongs_to_its_event ["P3"] ();
    bounded_time_without_a_broker ["P1"] (UNREACHABLE);
    a_dropped_publish_leaks_nothing ["P4"] ();
    a_retry_keeps_the_id ["P4"] ();
    partial_batch_failure ["P6"] ();
}

/// P2: whatever was Ok is there for another process although this one never closed.
async fn confirmed_means_held(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("held");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    link.declare(&[&spec]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let link = link.crash().await?;
    let member = link.start(&spec).await?;
    let seen = drain(&scene, vec![member], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

/// P1: a publish whose confirm is lost is Unknown, never Ok and never NotPublished.
async fn a_lost_confirm_is_unknown(scene: Scene) -> Verdict {
    let (link, injector) = scene.open_faulty().await?;
    let topic = scene.name("unconfirmed");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    link.declare(&[&spec]).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    injector.inject(Fault::LoseConfirms, &spec.name).await?;
    scene.step("a publish without a confirm to end");
    match link.publish(post(&topic, Some("k"), 1)).await {
        Ok(_) => Err(broken("a publish whose confirm was lost is Ok")),
        Err(error) if error.is_unknown() => Ok(injector.heal().await?),
        Err(error) => Err(broken(format!(
            "a publish whose confirm was lost is NotPublished: {}",
            chain(&error)
        ))),
    }
}

/// P3, house rule 11: with no group bound, the receipt or an error says that nobody got it; only a
/// transport that retains may say nothing.
async fn unroutable_says_so(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("nobody");
    link.declare_topics(&[&topic]).await?;
    scene.step("a publish that no group gets");
    let published = link.publish(post(&topic, Some("k"), 0)).await;
    judge(&scene, 0, published, &[])
}

/// P3: with routable and unroutable publishes in flight together, each verdict belongs to its own.
async fn unroutable_verdict_belongs_to_its_event(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(200);
    let (bound, unbound) = (scene.name("bound"), scene.name("unbound"));
    let spec = Spec::new(scene.name("g"), &[&bound]).room_for(count);
    link.declare_all(&[&bound, &unbound], &[&spec]).await?;
    scene.step("mixed publishes");
    let publishes = (0..count).map(|seq| {
        let topic = if seq % 3 == 0 { &unbound } else { &bound };
        link.publish(post(topic, Some("k"), seq))
    });
    let published = futures::future::join_all(publishes).await;
    for (seq, published) in published.into_iter().enumerate() {
        let groups = if seq % 3 == 0 {
            &[][..]
        } else {
            std::slice::from_ref(&spec.name)
        };
        judge(&scene, seq, published, groups)?;
    }
    let expected: Vec<_> = (0..count).filter(|seq| seq % 3 != 0).collect();
    let mut came = link.join(&spec).await?.ack_rest().await?;
    came.sort_unstable();
    ensure!(
        came == expected,
        "{} of {} routable messages came",
        came.len(),
        expected.len()
    );
    Ok(())
}

/// Whether a publish says what became of it, `groups` being those that get it.
fn judge(
    scene: &Scene,
    seq: usize,
    published: Result<Receipt, PublishError>,
    groups: &[Name],
) -> Verdict {
    match published {
        Ok(receipt) => match receipt.groups.names() {
            Some(claimed) => ensure!(
                *claimed == *groups,
                "message {seq} reached {groups:?}, its receipt says {claimed:?}"
            ),
            None => ensure!(
                !groups.is_empty() || scene.has(Capability::Retains),
                "message {seq} is Ok with no word that no group got it, and it is not retained"
            ),
        },
        Err(error) => ensure!(
            groups.is_empty()
                && !error.is_unknown()
                && matches!(error.reason(), Reason::Unroutable(_)),
            "message {seq} for {groups:?}: {}",
            chain(&error)
        ),
    }
    Ok(())
}

/// P1: with the broker gone a publish ends by its deadline, as an error.
async fn bounded_time_without_a_broker(scene: Scene) -> Verdict {
    let (link, injector) = scene.open_faulty().await?;
    let topic = scene.name("gone");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    link.declare(&[&spec]).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    injector.inject(Fault::Unreachable, &spec.name).await?;
    scene.step("a publish to end without a broker");
    let published = link.publish(post(&topic, Some("k"), 1)).await;
    ensure!(
        published.is_err(),
        "a publish is Ok although the broker was gone"
    );
    injector.heal().await?;
    // The handle lives on: it takes publishes again, the refused one under its own id included.
    publish_until_ok(&link, &topic, 1).await?;
    let mut member = link.join(&spec).await?;
    let mut tally = Tally::default();
    // To join a group may take longer than silence is believed.
    while tally.unique() < 2 {
        let received = member.expect("what was published").await?;
        tally.add(read(&received)?);
        received.ack();
    }
    for seq in member.ack_rest().await? {
        tally.add(seq);
    }
    tally.at_least(2)
}

async fn publish_until_ok(link: &Link, topic: &Name, seq: usize) -> Verdict {
    let what = format!("message {seq} to be published once the broker is back");
    let attempt =
        || async { Ok::<bool, Failure>(link.publish(post(topic, Some("k"), seq)).await.is_ok()) };
    link.scene.until(&what, attempt).await
}

/// P4: a publish that is dropped before its end blocks no later one, and is seen once or not at
/// all.
async fn a_dropped_publish_leaks_nothing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let rounds = scene.scaled(50);
    let topic = scene.name("dropped");
    let spec = Spec::new(scene.name("g"), &[&topic]).queue(4);
    let mut member = link.start(&spec).await?;
    let mut tally = Tally::default();
    for round in 0..rounds {
        // With this many at once, some wait for room in a queue of four.
        let first = round * 8;
        let mut dropped: Vec<_> = (first..first + 7)
            .map(|seq| Box::pin(link.publish(post(&topic, Some("k"), seq))))
            .collect();
        for publish in &mut dropped {
            let _ = futures::poll!(publish);
        }
        drop(dropped);
        let kept = first + 7;
        let publish = link.publish(post(&topic, Some("k"), kept));
        let receive = async {
            scene.step(format!("message {kept} after dropped publishes"));
            loop {
                let received = member.next().await?;
                let seq = read(&received)?;
                received.ack();
                tally.add(seq);
                if seq == kept {
                    return Ok::<(), Failure>(());
                }
            }
        };
        let publish = async { Ok(publish.await.map(drop)?) };
        futures::try_join!(publish, receive)?;
    }
    for seq in member.ack_rest().await? {
        tally.add(seq);
    }
    tally.no_repeats(8 * rounds)
}

/// P4: the id is the publisher's and goes unchanged to the consumer, however often it is sent.
async fn a_retry_keeps_the_id(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("again");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let id = format!("{topic}#7");
    for _ in 0..2 {
        link.send(post(&topic, Some("k"), 7)).await?;
        let received = member.expect_seq(7).await?;
        let found = envelope(&received)?.id;
        ensure!(found == id.as_str(), "the id {id} came as {found}");
        received.ack();
    }
    Ok(())
}

/// P6: of publishes in flight together exactly those that cannot be carried fail, each by itself.
async fn partial_batch_failure(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("partly");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    let mut member = link.start(&spec).await?;
    let messages = (0..count).map(|seq| {
        let mut message = post(&topic, Some("k"), seq);
        if seq % 10 == 3 {
            message.headers.push("bad\r\nname", "x");
        }
        message
    });
    scene.step("a batch of publishes");
    let published = futures::future::join_all(messages.map(|message| link.publish(message))).await;
    for (seq, published) in published.iter().enumerate() {
        match published {
            Ok(_) => ensure!(seq % 10 != 3, "message {seq} with an illegal header is Ok"),
            Err(error) => ensure!(
                seq % 10 == 3 && !error.is_unknown(),
                "message {seq}: {}",
                chain(error)
            ),
        }
    }
    let came = member.ack_rest().await?;
    let expected: Vec<_> = (0..count).filter(|seq| seq % 10 != 3).collect();
    ensure!(
        came == expected,
        "{} came, {} were Ok",
        came.len(),
        expected.len()
    );
    Ok(())
}
