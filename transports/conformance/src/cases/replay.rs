//! History can be read again, without moving anybody who reads on.

use tidings_transport::{Capability, Position};

use super::{GROUPS, REPLAY, RETAINS, cases};
use crate::kit::{Scene, Spec, Tally, Verdict, drain, ensure, post, read};

cases! { "replay":
    history_for_a_new_group ["Y1"] (RETAINS, GROUPS);
    only_the_chosen_group_moves ["Y1"] (REPLAY, RETAINS, GROUPS);
    position_round_trip ["Y1"] (REPLAY);
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
