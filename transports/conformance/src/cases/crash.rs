//! A consumer that ends without a word: what it had finished is final, the rest comes again.

use std::time::Duration;

use tidings_transport::{Capability, Received};

use super::cases;
use crate::kit::{Scene, Spec, Tally, Verdict, drain, ensure, post, read};

cases! { "resume":
    crash_of_a_consumer ["D3"] ();
    commit_never_passes_unfinished ["D3"] ();
    a_crashed_batch_comes_again_in_order ["O5"] ();
}

/// D3: the finished are repeated at most within the window, the unfinished come again, all of them.
async fn crash_of_a_consumer(scene: Scene) -> Verdict {
    const WINDOW: usize = 16;
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("crashing");
    let spec = Spec::new(scene.name("g"), &[&topic])
        .window(WINDOW)
        .room_for(count);
    let mut member = link.start(&spec).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let mut tally = Tally::default();
    for seq in 0..count / 2 {
        member.expect_seq(seq).await?.ack();
        tally.add(seq);
    }
    let held = member.take(WINDOW).await?;
    committed(&scene).await;
    drop(member);
    drop(held);

    let link = link.crash().await?;
    let member = link.start(&spec).await?;
    let seen = drain(&scene, vec![member], count - count / 2).await?;
    let repeated = seen.iter().filter(|seen| seen.seq < count / 2).count();
    ensure!(
        repeated <= WINDOW,
        "{repeated} finished messages were repeated, the window is {WINDOW}"
    );
    seen.iter().for_each(|seen| tally.add(seen.seq));
    tally.at_least(count)
}

/// D3: finished out of order, then crashed: what was not finished comes again, although later ones
/// were.
async fn commit_never_passes_unfinished(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("holes");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(16);
    let mut member = link.start(&spec).await?;
    link.send_all((0..16).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let finished = [15, 1, 2, 7, 3, 14];
    let mut held: Vec<Option<Received>> = member.take(16).await?.into_iter().map(Some).collect();
    for seq in finished {
        let received = held.get_mut(seq).and_then(Option::take);
        if let Some(received) = received {
            ensure!(
                read(&received)? == seq,
                "message {} came as number {seq}",
                read(&received)?
            );
            received.ack();
        }
    }
    committed(&scene).await;
    drop(member);
    drop(held);

    let link = link.crash().await?;
    let mut member = link.start(&spec).await?;
    let mut unfinished: Vec<_> = (0..16).filter(|seq| !finished.contains(seq)).collect();
    while !unfinished.is_empty() {
        let received = member
            .expect(&format!("the unfinished {unfinished:?}"))
            .await?;
        let seq = read(&received)?;
        unfinished.retain(|other| *other != seq);
        received.ack();
    }
    Ok(())
}

/// O5: deliveries may repeat after a crash, but those that had never come before keep their order.
async fn a_crashed_batch_comes_again_in_order(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("suffix");
    let spec = Spec::new(scene.name("g"), &[&topic]).window(8);
    let mut member = link.start(&spec).await?;
    link.send_all((0..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..4 {
        member.expect_seq(seq).await?.ack();
    }
    let held = member.take(8).await?;
    drop(member);
    drop(held);

    let link = link.crash().await?;
    let mut member = link.start(&spec).await?;
    let mut next: Option<usize> = None;
    while next != Some(20) {
        scene.step(format!("message {next:?} after a crash"));
        let received = member.next().await?;
        let seq = read(&received)?;
        // It may begin anywhere up to the first unfinished one; from there on without a gap.
        let in_order = next.map_or(seq <= 4, |next| seq == next);
        ensure!(
            in_order,
            "message {seq} came where message {next:?} was due"
        );
        next = Some(seq + 1);
        received.ack();
    }
    member.nothing_more("all came").await?;
    member
        .close_within(Duration::from_secs(5))
        .await
        .map_err(crate::kit::broken)
}

/// Time for what is final to be committed: contract D3 allows a second where that is a write.
async fn committed(scene: &Scene) {
    if scene.has(Capability::Durable) {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
}
