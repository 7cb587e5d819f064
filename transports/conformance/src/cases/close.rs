//! Closing keeps its deadline, counts what it leaves, and says so afterwards.

use std::time::{Duration, Instant};

use tidings_transport::{Capability, Health, Origin, Reason, TryPublish};

use super::cases;
use crate::kit::{Scene, Spec, Tally, Verdict, broken, chain, drain, ensure, post};

cases! { "close":
    publish_flushed_on_close ["S1"] ();
    drain_returns_exact_counts ["S2"] ();
    a_clean_close_leaves_nothing ["S2"] ();
    second_close_is_harmless ["S2"] ();
    deadline_holds_with_a_stuck_consumer ["S2"] ();
    publishing_after_close_is_refused ["S3"] ();
    a_waiting_receive_ends_on_close ["S1"] ();
    a_waiting_publish_ends_on_close ["S3"] ();
}

/// Contract S2: the deadline plus a second.
const GRACE: Duration = Duration::from_secs(1);

/// S1: publishes in flight when the close begins have their verdict, and what was Ok is there.
async fn publish_flushed_on_close(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("flushed");
    let spec = Spec::new(scene.name("g"), &[&topic]).room_for(count);
    link.declare(&[&spec]).await?;
    let mut in_flight: Vec<_> = (0..count)
        .map(|seq| Box::pin(link.publish(post(&topic, Some("k"), seq))))
        .collect();
    let mut verdicts = Vec::with_capacity(count);
    for publish in &mut in_flight {
        verdicts.push(futures::poll!(publish));
    }
    let rest = async {
        let mut all = Vec::with_capacity(count);
        for (publish, verdict) in in_flight.into_iter().zip(verdicts) {
            all.push(match verdict {
                std::task::Poll::Ready(verdict) => verdict,
                std::task::Poll::Pending => publish.await,
            });
        }
        all
    };
    let (verdicts, closed) = futures::join!(rest, link.close(Duration::from_secs(5)));
    let unflushed = closed.map_err(broken)?.unflushed;
    let unknown = verdicts
        .iter()
        .filter(|verdict| verdict.as_ref().is_err_and(|error| error.is_unknown()))
        .count();
    ensure!(
        unflushed == unknown,
        "close reports {unflushed} unflushed publishes, {unknown} were told they are Unknown"
    );
    let ok = |seq: &usize| verdicts.get(*seq).is_some_and(Result::is_ok);
    if scene.has(Capability::Durable) {
        let link = scene.open().await?;
        let member = link.start(&spec).await?;
        let expected: Vec<usize> = (0..count).filter(ok).collect();
        let seen = drain(&scene, vec![member], expected.len()).await?;
        let came = Tally::from_iter(seen.iter().map(|seen| seen.seq));
        ensure!(
            came.unique() >= expected.len(),
            "publishes that were Ok did not arrive"
        );
    }
    Ok(())
}

/// S2: ten delivered, four acked: six are reported, as a count or in the text of the error.
async fn drain_returns_exact_counts(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("counted");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut held = member.take(10).await?;
    held.drain(..4).for_each(|received| received.ack());
    match link.close(Duration::from_millis(200)).await {
        Ok(report) => ensure!(
            (report.unsettled, report.unflushed) == (6, 0),
            "six messages are unsettled, close reports {report:?}"
        ),
        Err(text) => ensure!(
            text.split(|c: char| !c.is_ascii_digit())
                .any(|number| number == "6"),
            "six messages are unsettled, the error does not say so: {text}"
        ),
    }
    Ok(())
}

/// S2: when everything is settled, close is Ok and reports nothing left.
async fn a_clean_close_leaves_nothing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("clean");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..10 {
        member.expect_seq(seq).await?.ack();
    }
    member.close().await?;
    let report = link.close(Duration::from_secs(5)).await.map_err(broken)?;
    ensure!(
        (report.unsettled, report.unflushed) == (0, 0),
        "nothing is left, close reports {report:?}"
    );
    Ok(())
}

/// S2: closing again, later or at the same time, is Ok.
async fn second_close_is_harmless(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("twice");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    member.expect_seq(0).await?.ack();
    member.close().await?;
    let deadline = Duration::from_secs(5);
    let (first, second) = futures::join!(link.close(deadline), link.close(deadline));
    first.map_err(broken)?;
    second.map_err(broken)?;
    link.close(deadline).await.map_err(broken)?;
    ensure!(
        link.transport.health() == Health::Closed,
        "a closed transport says that it is {}",
        link.transport.health()
    );
    Ok(())
}

/// S2: a consumer that never settles cannot hold up a close beyond its deadline and a second.
async fn deadline_holds_with_a_stuck_consumer(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("stuck");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    link.send_all((0..5).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let held = member.take(2).await?;
    let deadline = Duration::from_millis(300);
    let begun = Instant::now();
    // Whether this is Ok or an error is another case's business.
    let _ = link.close(deadline).await;
    let took = begun.elapsed();
    ensure!(
        took <= deadline + GRACE,
        "a close with a deadline of {deadline:?} took {took:?}"
    );
    drop(held);

    let link = scene.open().await?;
    let mut member = link.start(&Spec::new(scene.name("g2"), &[&topic])).await?;
    link.send(post(&topic, Some("k"), 5)).await?;
    let held = member.expect("a message to hold").await?;
    let begun = Instant::now();
    let _ = member.close_within(deadline).await;
    let took = begun.elapsed();
    ensure!(
        took <= deadline + GRACE,
        "a consumer with a deadline of {deadline:?} took {took:?}"
    );
    drop(held);
    Ok(())
}

/// S3: a closed transport takes no publish and no new member, and says why.
async fn publishing_after_close_is_refused(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("over");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    link.declare(&[&spec]).await?;
    link.close(Duration::from_secs(5)).await.map_err(broken)?;
    link.scene.step("a publish to a closed transport");
    match link.publish(post(&topic, Some("k"), 0)).await {
        Ok(_) => return Err(broken("a publish after the close is Ok")),
        Err(error) => ensure!(
            !error.is_unknown() && matches!(error.reason(), Reason::Closed),
            "a publish after the close is not NotPublished(Closed): {}",
            chain(&error)
        ),
    }
    let attempt = link
        .transport
        .try_publish(post(&topic, Some("k"), 1), &Origin::default());
    ensure!(
        !matches!(attempt, TryPublish::Done(_)),
        "a try_publish after the close is done"
    );
    ensure!(
        link.try_join(&spec).await.is_err(),
        "a closed transport opens a consumer"
    );
    Ok(())
}

/// S1: a receive that waits when the transport is closed ends, with Closed or an error.
async fn a_waiting_receive_ends_on_close(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("idle");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let waiting = async {
        let ended = member.poll().await;
        ensure!(
            !matches!(ended, Ok(Some(_))),
            "a message came that was never published"
        );
        Ok(())
    };
    let close = async {
        // The receive is polled first, so it waits by now.
        let closed = link.close(Duration::from_secs(5)).await.map_err(broken);
        scene.step("a waiting receive to end after the close");
        closed
    };
    futures::try_join!(waiting, close)?;
    Ok(())
}

/// S3: publishes that wait for room when the transport is closed end, and not with Ok.
async fn a_waiting_publish_ends_on_close(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("full");
    let spec = Spec::new(scene.name("g"), &[&topic]).queue(2);
    link.declare(&[&spec]).await?;
    let mut publishes: Vec<_> = (0..8)
        .map(|seq| Box::pin(link.publish(post(&topic, Some("k"), seq))))
        .collect();
    let mut waiting = Vec::new();
    for mut publish in publishes.drain(..) {
        match futures::poll!(&mut publish) {
            std::task::Poll::Ready(published) => drop(published?),
            std::task::Poll::Pending => waiting.push(publish),
        }
    }
    // What is queued and unread may keep this from being Ok.
    let close = link.close(Duration::from_millis(300));
    let (ended, _) = futures::join!(futures::future::join_all(waiting), close);
    for published in ended {
        // A broker without a queue of ours may well have taken them all.
        if let Err(error) = published {
            ensure!(
                error.is_unknown() || matches!(error.reason(), Reason::Closed),
                "a publish that waited during the close ended with: {}",
                chain(&error)
            );
        }
    }
    Ok(())
}
