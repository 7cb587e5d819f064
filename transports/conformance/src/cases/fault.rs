//! Faults between this process and its broker, injected by the harness.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_transport::Name;
use tokio::task::JoinSet;

use super::{CANCEL, DISCONNECT, DURABLE, RESTART, cases};
use crate::harness::{Fault, Injector};
use crate::kit::{Failure, Link, Scene, Spec, Tally, Verdict, broken, post, read};

cases! { "resume":
    broker_restart ["P1"] (RESTART, DURABLE);
    dropped_connection_mid_publish ["P1"] (DISCONNECT);
    dropped_connection_mid_ack ["D5"] (DISCONNECT);
    broker_cancels_the_consumer ["Consumer::receive"] (CANCEL);
}

/// P1: 10,000 messages from 20 publishers that retry while the broker restarts at a third and at
/// half: all arrive.
async fn broker_restart(scene: Scene) -> Verdict {
    let count = scene.scaled(10_000);
    let at = [count / 3, count / 2];
    disturbed(scene, "restarted", Fault::RestartBroker, count, 20, &at).await
}

/// P1: the connection breaks between publishes, three times: all arrive, each Ok one at least once.
async fn dropped_connection_mid_publish(scene: Scene) -> Verdict {
    let count = scene.scaled(1_000);
    let at = [count / 4, count / 3, count / 2];
    disturbed(scene, "cut", Fault::DropConnection, count, 4, &at).await
}

/// D5, D2: the connection breaks between delivery and ack, three times: what was not acked in time
/// comes again, and nothing is lost.
async fn dropped_connection_mid_ack(scene: Scene) -> Verdict {
    let (link, injector) = scene.open_faulty().await?;
    let count = scene.scaled(100);
    let topic = scene.name("cut-ack");
    let spec = Spec::new(scene.name("g"), &[&topic])
        .window(8)
        .room_for(count);
    let mut member = link.start(&spec).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut tally = Tally::default();
    let mut cuts = 0;
    while tally.unique() < count {
        scene.step(format!("{count} messages, {} came so far", tally.unique()));
        let Ok(received) = member.next().await else {
            // An error ends a consumer, aloud; a new one goes on.
            member = join_again(&link, &spec).await?;
            continue;
        };
        if cuts < 3 && tally.unique() >= (cuts + 1) * count / 4 {
            cuts += 1;
            injector.inject(Fault::DropConnection, &spec.name).await?;
        }
        tally.add(read(&received)?);
        received.ack();
    }
    tally.at_least(count)
}

/// `Consumer::receive`: when the broker ends a consumer, the subscription goes on or reports it;
/// it never idles in silence.
async fn broker_cancels_the_consumer(scene: Scene) -> Verdict {
    let (link, injector) = scene.open_faulty().await?;
    let topic = scene.name("ended");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    let mut member = link.start(&spec).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    member.expect_seq(0).await?.ack();
    injector.inject(Fault::CancelConsumer, &spec.name).await?;
    publish_until_ok(&link, &topic, 1).await?;
    scene.step("a message or an error after the broker ended the consumer");
    // Either is an answer; only silence is not.
    if let Ok(received) = member.next().await {
        received.ack();
        return Ok(());
    }
    let mut member = join_again(&link, &spec).await?;
    member
        .expect("a message for the consumer opened after the error")
        .await?
        .ack();
    Ok(())
}

/// Publishers that retry until Ok, a consumer that opens again after errors, and a fault whenever
/// that many are published.
async fn disturbed(
    scene: Scene,
    what: &str,
    fault: Fault,
    count: usize,
    publishers: usize,
    at: &[usize],
) -> Verdict {
    let (link, injector) = scene.open_faulty().await?;
    let topic = scene.name(what);
    let spec = Spec::new(scene.name("g"), &[&topic]).unordered();
    link.declare(&[&spec]).await?;
    let disturber = Arc::new(Disturber {
        injector,
        fault,
        group: spec.name.clone(),
        published: AtomicUsize::new(0),
        at: at.to_vec(),
    });
    let mut tasks = JoinSet::new();
    for publisher in 0..publishers {
        let (link, topic, disturber) = (link.clone(), topic.clone(), Arc::clone(&disturber));
        tasks.spawn(async move {
            for seq in (publisher..count).step_by(publishers) {
                publish_until_ok(&link, &topic, seq).await?;
                disturber.one_more().await?;
            }
            Ok::<(), Failure>(())
        });
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let consume = consume_all(&link, &spec, count, &tally);
    let publish = async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| broken(format!("a publisher ended: {error}")))??;
        }
        Ok::<(), Failure>(())
    };
    futures::try_join!(publish, consume)?;
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.at_least(count)
}

/// Injects a fault whenever so many are published, by the publisher that gets there: so it always
/// hits the others in the middle of their work.
struct Disturber {
    injector: Box<dyn Injector>,
    fault: Fault,
    group: Name,
    published: AtomicUsize,
    at: Vec<usize>,
}

impl Disturber {
    async fn one_more(&self) -> Verdict {
        let published = self.published.fetch_add(1, Ordering::Relaxed) + 1;
        if self.at.contains(&published) {
            self.injector.inject(self.fault, &self.group).await?;
            self.injector.heal().await?;
        }
        Ok(())
    }
}

async fn consume_all(link: &Link, spec: &Spec, count: usize, tally: &Mutex<Tally>) -> Verdict {
    let mut member = link.join(spec).await?;
    loop {
        let came = tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .unique();
        link.scene
            .step(format!("{count} messages, {came} came so far"));
        match member.next().await {
            Ok(received) => {
                let seq = read(&received)?;
                received.ack();
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.add(seq);
                if tally.unique() >= count {
                    return Ok(());
                }
            }
            Err(_) => member = join_again(link, spec).await?,
        }
    }
}

/// Under one id, so that a copy of an Unknown one is the same message.
async fn publish_until_ok(link: &Link, topic: &Name, seq: usize) -> Verdict {
    while link.publish(post(topic, Some("k"), seq)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn join_again(link: &Link, spec: &Spec) -> Result<crate::kit::Member, Failure> {
    loop {
        match link.try_join(spec).await {
            Ok(member) => return Ok(member),
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
