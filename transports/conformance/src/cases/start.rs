//! A new group starts where it asked to (D7).

use tidings_transport::{ErrorKind, Start, Timestamp};

use super::{GROUPS, REPLAY, RETAINS, cases};
use crate::kit::{Failure, Scene, Spec, Tally, Verdict, drain, ensure, post, read};

cases! { "groups":
    a_new_group_starts_earliest ["D7"] (GROUPS, RETAINS);
    a_new_group_starts_latest ["D7"] (GROUPS);
    a_new_group_starts_at_a_moment ["D7"] (GROUPS, RETAINS, REPLAY);
    a_new_group_starts_at_an_offset ["D7"] (GROUPS, RETAINS, REPLAY);
    an_existing_group_goes_on_where_it_was ["D7"] (GROUPS);
}

/// D7: earliest gets everything that is still there.
async fn a_new_group_starts_earliest(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("history");
    let first = Spec::new(scene.name("first"), &[&topic]);
    let member = link.start(&first).await?;
    link.send_all((0..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    drain(&scene, vec![member], 20).await?;
    let member = link
        .start(&Spec::new(scene.name("second"), &[&topic]))
        .await?;
    let seen = drain(&scene, vec![member], 20).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(20)
}

/// D7: latest gets what is published once it has started, and nothing older.
async fn a_new_group_starts_latest(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("news");
    let first = Spec::new(scene.name("first"), &[&topic]);
    link.declare(&[&first]).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let spec = Spec::new(scene.name("second"), &[&topic]).start(Start::Latest);
    let mut member = link.start(&spec).await?;
    link.send_all((10..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 10..20 {
        member.expect_seq(seq).await?.ack();
    }
    member.nothing_more("all that was new came").await
}

/// D7: a moment gets what was published at or after it.
async fn a_new_group_starts_at_a_moment(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("moments");
    link.declare_topics(&[&topic]).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    // Brokers count in milliseconds, and their clocks may be a little behind.
    tokio::time::sleep(scene.quiet()).await;
    let moment = Timestamp::now();
    tokio::time::sleep(scene.quiet()).await;
    link.send_all((10..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let spec = Spec::new(scene.name("g"), &[&topic]).start(Start::At(moment));
    link.declare(&[&spec]).await?;
    let mut member = match link.try_join(&spec).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Err(Failure::Inapplicable(format!(
                "refused by the transport: {error}"
            )));
        }
        joined => joined?,
    };
    for seq in 10..20 {
        member.expect_seq(seq).await?.ack();
    }
    member.nothing_more("all from that moment on came").await
}

/// D7: an offset gets what is there from it on.
async fn a_new_group_starts_at_an_offset(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("offsets");
    link.declare_topics(&[&topic]).await?;
    link.send_all((0..20).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    let spec = Spec::new(scene.name("g"), &[&topic]).start(Start::Offset(15));
    link.declare(&[&spec]).await?;
    let mut member = link.join(&spec).await?;
    for seq in 15..20 {
        member.expect_seq(seq).await?.ack();
    }
    member.nothing_more("all from that offset on came").await
}

/// D7: where a new group would start is nothing to one that exists.
async fn an_existing_group_goes_on_where_it_was(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("going-on");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    let mut member = link.start(&spec).await?;
    link.send_all((0..10).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for seq in 0..5 {
        member.expect_seq(seq).await?.ack();
    }
    member.close().await?;
    let mut member = link.join(&spec.clone().start(Start::Latest)).await?;
    let mut seqs = Vec::new();
    for _ in 5..10 {
        let received = member.expect("a message from before the pause").await?;
        seqs.push(read(&received)?);
        received.ack();
    }
    ensure!(seqs == [5, 6, 7, 8, 9], "the group went on with {seqs:?}");
    Ok(())
}
