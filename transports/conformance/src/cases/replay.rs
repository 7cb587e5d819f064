//! History can be read again, without moving anybody who reads on.

use std::ops::Range;

use tidings_transport::{Capability, ErrorKind, Mode, Position, Start, Timestamp};

use super::{GROUPS, REPLAY, RETAINS, cases};
use crate::kit::{Link, Scene, Spec, Tally, Verdict, drain, ensure, post, read};

cases! { "replay":
    history_for_a_new_group ["Y1"] (RETAINS, GROUPS);
    only_the_chosen_group_moves ["Y1"] (REPLAY, RETAINS, GROUPS);
    position_round_trip ["Y1"] (REPLAY);
    a_replay_reads_to_its_end ["Y1"] (REPLAY, RETAINS, GROUPS);
    a_replay_reads_a_range ["Y1"] (REPLAY, RETAINS);
    a_replay_of_nothing_ends_at_once ["Y1"] (REPLAY, RETAINS);
    a_replay_of_the_future_is_refused ["Y1"] (REPLAY, RETAINS);
}

/// Y1: a new group gets the whole history, ids, keys and order as they were.
async fn history_for_a_new_group(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("history");
    let live = Spec::new(scene.name("live"), &[&topic]).room_for(count);
    let member = link.start(&live).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let first = drain(&scene, vec![member], count).await?;
    let replay = Spec::new(scene.name("replay"), &[&topic]).room_for(count);
    let member = link.start(&replay).await?;
    let again = drain(&scene, vec![member], count).await?;
    ensure!(first == again, "the history differs from what was live");
    Ok(())
}

/// Y1: a replay has its own cursor: the live group gets nothing twice and misses nothing.
async fn only_the_chosen_group_moves(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("cursors");
    let live = Spec::new(scene.name("live"), &[&topic]);
    let mut member = link.start(&live).await?;
    link.send_all((0..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..10 {
        member.expect_seq(seq).await?.ack();
    }
    if scene.has(Capability::Lag) {
        let group = live.name.clone();
        let counted = || async { Ok(link.behind(&group).await? == 10) };
        scene
            .until("a lag of 10 before the replay", counted)
            .await?;
    }
    let replayed = link
        .start(&Spec::new(scene.name("replay"), &[&topic]))
        .await?;
    drain(&scene, vec![replayed], 20).await?;
    for seq in 10..20 {
        member.expect_seq(seq).await?.ack();
    }
    member.nothing_more("the replay was another group's").await
}

/// Y1: the position in the receipt is the one of the delivery, and positions of a partition grow.
async fn position_round_trip(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("positions");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let mut sent: Vec<Position> = Vec::new();
    for seq in 0..20 {
        let receipt = link.send(post(&topic, Some("k"), seq)).await?;
        let Some(position) = receipt.position else {
            return Err(crate::kit::broken(
                "replay is declared, but receipts have no position",
            ));
        };
        sent.push(position);
    }
    let mut seqs = Vec::new();
    for _ in 0..20 {
        let received = member.expect("a message with its position").await?;
        let seq = read(&received)?;
        let (was, is) = (sent.get(seq).copied(), received.origination.position);
        ensure!(
            was == is,
            "message {seq} was put at {was:?} and came from {is:?}"
        );
        seqs.push(seq);
        received.ack();
    }
    Tally::from_iter(seqs).exactly(20)?;
    ensure!(
        sent.is_sorted(),
        "positions of one key do not grow: {sent:?}"
    );
    Ok(())
}

/// Y1: a replay ends with what was there when it began, once all of it is settled; what it gives back
/// comes again; the live group neither moves nor waits.
async fn a_replay_reads_to_its_end(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("again");
    let live = Spec::new(scene.name("live"), &[&topic]);
    let mut member = link.start(&live).await?;
    link.send_all((0..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..10 {
        member.expect_seq(seq).await?.ack();
    }
    let replay = Spec::new(scene.name("cursor"), &[&topic]).window(1);
    let mut again = link.join(&reading(replay.clone(), None)).await?;
    link.send_all((20..25).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let left = link.behind(&replay.name).await?;
    ensure!(left == 20, "{left} messages are left to replay, not 20");
    for seq in 0..20 {
        again.expect_seq(seq).await?.release();
        again.expect_seq(seq).await?.ack();
    }
    again.expect_end().await?;
    for seq in 10..25 {
        member.expect_seq(seq).await?.ack();
    }
    member.nothing_more("the replay was nobody's group").await
}

/// Y1: from an offset, and from one moment to another.
async fn a_replay_reads_a_range(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("range");
    link.declare_topics(&[&topic]).await?;
    let mut between = Vec::new();
    for from in [0, 10, 20] {
        link.send_all((from..from + 10).map(|seq| post(&topic, Some("k"), seq)))
            .await?;
        // Brokers count in milliseconds, and their clocks may be a little behind.
        tokio::time::sleep(scene.quiet()).await;
        between.push(Timestamp::now());
        tokio::time::sleep(scene.quiet()).await;
    }
    let spec = |name: &str| Spec::new(scene.name(name), &[&topic]);
    let offset = reading(spec("offset").start(Start::Offset(25)), None);
    read_all(&link, &offset, 25..30).await?;
    let moments = reading(
        spec("moments").start(Start::At(between[0])),
        Some(between[1]),
    );
    read_all(&link, &moments, 10..20).await
}

/// Y1: nothing there is no reason to wait.
async fn a_replay_of_nothing_ends_at_once(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("nothing");
    link.declare_topics(&[&topic]).await?;
    read_all(
        &link,
        &reading(Spec::new(scene.name("cursor"), &[&topic]), None),
        0..0,
    )
    .await
}

/// An offset that was never there is a mistake, and nothing to wait for.
async fn a_replay_of_the_future_is_refused(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("future");
    link.declare_topics(&[&topic]).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    let spec = Spec::new(scene.name("cursor"), &[&topic]).start(Start::Offset(2));
    match link.try_join(&reading(spec, None)).await {
        Ok(_) => Err(crate::kit::broken("an offset of the future was accepted")),
        Err(error) => {
            let kind = error.kind();
            ensure!(
                kind == ErrorKind::Config,
                "it was refused as {kind:?}: {error}"
            );
            Ok(())
        }
    }
}

fn reading(mut spec: Spec, until: Option<Timestamp>) -> Spec {
    spec.mode = Mode::Replay { until };
    spec
}

async fn read_all(link: &Link, spec: &Spec, seqs: Range<usize>) -> Verdict {
    let mut member = link.join(spec).await?;
    for seq in seqs {
        member.expect_seq(seq).await?.ack();
    }
    member.expect_end().await
}
