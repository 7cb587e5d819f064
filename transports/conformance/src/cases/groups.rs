//! Groups are independent; members of one group share.

use futures::future::try_join_all;
use tidings_transport::{Name, Pattern, Topics};

use super::{ATTEMPTS, GROUPS, cases};
use crate::kit::{
    Scene, Spec, Tally, Verdict, broken, drain, ensure, post, publish_while_draining,
};
use crate::report::Requirement;

cases! { "groups":
    two_groups_each_get_all ["D6"] (GROUPS);
    members_of_one_group_share ["D1"] (GROUPS);
    groups_are_independent ["D6"] (GROUPS);
    attempts_of_another_group_are_invisible ["D6"] (GROUPS, ATTEMPTS);
    declaring_again_changes_nothing ["Transport::declare"] ();
    a_pattern_gets_the_topics_it_matches ["Topics::patterns"] ();
    a_detached_group_gets_no_more ["Transport::detach"] (Requirement::InProcess);
    interest_never_denies_a_group ["Transport::interest"] ();
}

/// D6: two groups over one topic each get all.
async fn two_groups_each_get_all(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(100);
    let topic = scene.name("both");
    let (a, b) = (scene.name("a"), scene.name("b"));
    let specs = [a, b].map(|name| Spec::new(name, &[&topic]).room_for(count));
    link.declare(&[&specs[0], &specs[1]]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for spec in &specs {
        let member = link.join(spec).await?;
        let seen = drain(&scene, vec![member], count).await?;
        Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    }
    Ok(())
}

/// D1: three members of one group get each message once between them.
async fn members_of_one_group_share(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(300);
    let topic = scene.name("shared");
    let spec = Spec::new(scene.name("g"), &[&topic]).unordered().window(4);
    link.declare(&[&spec]).await?;
    let members = try_join_all((0..3).map(|_| link.join(&spec))).await?;
    let messages = (0..count)
        .map(|seq| post(&topic, Some(&format!("k{seq}")), seq))
        .collect();
    let seen = publish_while_draining(&link, messages, members, count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

/// D6: what one group gives back, drops or leaves unread is invisible in another.
async fn groups_are_independent(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let count = scene.scaled(50);
    let topic = scene.name("apart");
    let names = ["failing", "idle", "well"].map(|name| scene.name(name));
    let specs = names.map(|name| Spec::new(name, &[&topic]).room_for(count));
    link.declare(&specs.iter().collect::<Vec<_>>()).await?;
    let mut failing = link.join(&specs[0]).await?;
    let _idle = link.join(&specs[1]).await?;
    link.send_all((0..count).map(|seq| post(&topic, Some("k"), seq)))
        .await?;
    for _ in 0..3 {
        drop(failing.take(10).await?);
    }
    let well = link.join(&specs[2]).await?;
    let seen = drain(&scene, vec![well], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)?;
    let seen = drain(&scene, vec![failing], count).await?;
    Tally::from_iter(seen.iter().map(|seen| seen.seq)).exactly(count)
}

/// D6: deliveries to one group do not count as attempts of another.
async fn attempts_of_another_group_are_invisible(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("apart");
    let specs = ["failing", "well"].map(|name| Spec::new(scene.name(name), &[&topic]));
    link.declare(&[&specs[0], &specs[1]]).await?;
    let (mut failing, mut well) = (link.join(&specs[0]).await?, link.join(&specs[1]).await?);
    link.send(post(&topic, Some("k"), 0)).await?;
    for _ in 0..3 {
        failing.expect_seq(0).await?.release();
    }
    let received = well.expect_seq(0).await?;
    let attempt = received.origination.attempt;
    ensure!(
        attempt == 1,
        "three releases of another group made this attempt {attempt}"
    );
    received.ack();
    Ok(())
}

/// `Transport::declare` and `attach`: repeatable; a group that is attached twice gets each message
/// once and keeps its queue.
async fn declaring_again_changes_nothing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("twice");
    let spec = Spec::new(scene.name("g"), &[&topic]);
    link.declare(&[&spec]).await?;
    link.send(post(&topic, Some("k"), 0)).await?;
    link.declare(&[&spec]).await?;
    link.send(post(&topic, Some("k"), 1)).await?;
    let mut member = link.join(&spec).await?;
    link.declare(&[&spec]).await?;
    link.send(post(&topic, Some("k"), 2)).await?;
    Tally::from_iter(member.ack_rest().await?).exactly(3)
}

/// `Topics::patterns`: `*` is one word, `#` any number, and the reserved topics never match.
async fn a_pattern_gets_the_topics_it_matches(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let stem = scene.name("order");
    let topic = |end: &str| Name::from(format!("{stem}.{end}"));
    let wanted = [topic("placed"), topic("paid")];
    let unwanted = [
        topic("placed.twice"),
        topic("dead"),
        topic("retry"),
        stem.clone(),
    ];
    let all: Vec<&Name> = wanted.iter().chain(&unwanted).collect();
    let mut spec = Spec::new(scene.name("g"), &[]);
    let pattern: Pattern = format!("{stem}.*")
        .parse()
        .map_err(|error| broken(format!("the case's own pattern is wrong: {error}")))?;
    spec.topics = Topics {
        exact: Vec::new(),
        patterns: vec![pattern],
    };
    link.declare_all(&all, &[&spec]).await?;
    let member = link.join(&spec).await?;
    for topic in &all {
        scene.step(format!("a publish to {topic}"));
        // A topic that nobody is bound to may be refused.
        match link.publish(post(topic, Some("k"), 0)).await {
            Ok(_) => {}
            Err(error) => ensure!(
                unwanted.contains(topic) && !error.is_unknown(),
                "a publish to {topic}, which the pattern matches: {}",
                crate::kit::chain(&error)
            ),
        }
    }
    let seen = drain(&scene, vec![member], wanted.len()).await?;
    let mut topics: Vec<_> = seen.into_iter().map(|seen| seen.topic).collect();
    topics.sort_unstable();
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    ensure!(
        topics == wanted,
        "{stem}.* got {topics:?} instead of {wanted:?}"
    );
    Ok(())
}

/// `Transport::detach`: no further messages of these topics; what is queued is still delivered;
/// other topics and groups go on.
async fn a_detached_group_gets_no_more(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let (left, kept) = (scene.name("left"), scene.name("kept"));
    let specs = ["leaving", "staying"].map(|name| Spec::new(scene.name(name), &[&left, &kept]));
    link.declare(&[&specs[0], &specs[1]]).await?;
    let (leaving, staying) = (link.join(&specs[0]).await?, link.join(&specs[1]).await?);
    link.send(post(&left, Some("k"), 0)).await?;
    for _ in 0..2 {
        link.transport
            .detach(&specs[0].name, &Topics::exact([&left]));
    }
    link.send(post(&left, Some("k"), 1)).await?;
    link.send(post(&kept, Some("k"), 0)).await?;
    let seen = drain(&scene, vec![leaving], 2).await?;
    let topics: Vec<_> = seen.iter().map(|seen| (&seen.topic, seen.seq)).collect();
    ensure!(
        topics.len() == 2 && topics.contains(&(&left, 0)) && topics.contains(&(&kept, 0)),
        "the group that left {left} got {topics:?}"
    );
    let seen = drain(&scene, vec![staying], 3).await?;
    ensure!(seen.len() == 3, "the group that stayed got {seen:?}");
    Ok(())
}

/// `Transport::interest`: never says that nobody is there when somebody is, also when it was asked
/// before.
async fn interest_never_denies_a_group(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("watched");
    link.declare_topics(&[&topic]).await?;
    let before = link.transport.interest(&topic);
    let spec = Spec::new(scene.name("g"), &[&topic]);
    let mut member = link.start(&spec).await?;
    let after = link.transport.interest(&topic);
    ensure!(
        !before.is_none(),
        "an interest asked for earlier misses the group attached since"
    );
    ensure!(
        !after.is_none(),
        "the interest in {topic} denies a group that is attached"
    );
    link.send(post(&topic, Some("k"), 0)).await?;
    member.expect_seq(0).await?.ack();
    link.transport.detach(&spec.name, &spec.topics);
    // A broker's group outlives this process; where nobody is left, nobody may be claimed.
    if after.is_none() {
        let published = link.publish(post(&topic, Some("k"), 1)).await?;
        let claimed = published.groups.names().unwrap_or_default();
        ensure!(
            claimed.is_empty(),
            "nobody is interested, yet the receipt names {claimed:?}"
        );
    }
    Ok(())
}
