//! A retained topic, such as a group's dead letters, is read without being consumed.

use tidings_transport::{DynBrowser, Entry, ErrorKind, Name};

use super::{BROWSE, cases};
use crate::kit::{Failure, Link, Scene, Spec, Verdict, ensure, post, read};

cases! { "browse":
    dead_letters_are_listed_oldest_first ["R5"] (BROWSE);
    browsing_consumes_nothing ["Transport::browse"] (BROWSE);
    removed_entries_are_gone ["Browser::remove"] (BROWSE);
    an_unknown_topic_is_missing ["Transport::browse"] (BROWSE);
}

/// R5: everything that was put there, oldest first, with payload, headers and key as they were.
async fn dead_letters_are_listed_oldest_first(scene: Scene) -> Verdict {
    let (link, dead) = with_dead_letters(&scene, 0).await?;
    ensure!(
        seqs(&listed(&link, &dead).await?)?.is_empty(),
        "an unused topic has entries"
    );
    for seq in 0..10 {
        let mut message = post(&dead, Some(&key(seq)), seq);
        message.headers.push("reason", format!("because of {seq}"));
        link.send(message).await?;
    }
    let entries = listed(&link, &dead).await?;
    let found = seqs(&entries)?;
    ensure!(
        found == (0..10).collect::<Vec<_>>(),
        "ten dead letters are listed as {found:?}"
    );
    for (seq, entry) in entries.iter().enumerate() {
        let reason = format!("because of {seq}");
        ensure!(
            entry.message.headers.get_str("reason") == Some(&reason)
                && entry.message.key.as_deref() == Some(key(seq).as_bytes()),
            "entry {seq} has headers {:?} and key {:?}",
            entry.message.headers,
            entry.message.key
        );
    }
    Ok(())
}

/// `Transport::browse`: what was looked at is still there.
async fn browsing_consumes_nothing(scene: Scene) -> Verdict {
    let (link, dead) = with_dead_letters(&scene, 5).await?;
    for look in 0..3 {
        let found = seqs(&listed(&link, &dead).await?)?;
        ensure!(found == [0, 1, 2, 3, 4], "look {look} found {found:?}");
    }
    Ok(())
}

/// `Browser::remove`: one entry at a time, for good, twice without harm; its neighbours stay.
async fn removed_entries_are_gone(scene: Scene) -> Verdict {
    let (link, dead) = with_dead_letters(&scene, 5).await?;
    let mut browser = link.transport.browse(&dead).await?;
    let entries = read_all(&link, &mut *browser).await?;
    for entry in [&entries[1], &entries[3]] {
        browser.remove(entry).await?;
        browser.remove(entry).await?;
    }
    drop(browser);
    let found = seqs(&listed(&link, &dead).await?)?;
    ensure!(
        found == [0, 2, 4],
        "after removing 1 and 3 of five, {found:?} are there"
    );
    link.send(post(&dead, Some(&key(5)), 5)).await?;
    let found = seqs(&listed(&link, &dead).await?)?;
    ensure!(found == [0, 2, 4, 5], "after one more, {found:?} are there");
    Ok(())
}

/// `Transport::browse`: a topic that was never declared is an error, not an empty list.
async fn an_unknown_topic_is_missing(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("never.dead");
    match link.transport.browse(&topic).await {
        Ok(_) => Err(crate::kit::broken(format!(
            "{topic} was never declared and can be browsed"
        ))),
        Err(error) => {
            ensure!(
                error.kind() == ErrorKind::Missing,
                "browsing an undeclared topic is {:?}, not Missing",
                error.kind()
            );
            Ok(())
        }
    }
}

/// A group whose dead-letter topic holds this many.
async fn with_dead_letters(scene: &Scene, count: usize) -> Result<(Link, Name), Failure> {
    let link = scene.open().await?;
    let (topic, group) = (scene.name("source"), scene.name("g"));
    let dead = Name::from(format!("{group}.dead"));
    let mut spec = Spec::new(group, &[&topic]);
    spec.dead_letters = Some(dead.clone());
    link.declare(&[&spec]).await?;
    link.send_all((0..count).map(|seq| post(&dead, Some(&key(seq)), seq)))
        .await?;
    Ok((link, dead))
}

/// Each entry has a key of its own: where the topic is compacted, the newest of a key replaces those
/// before it.
fn key(seq: usize) -> String {
    format!("k{seq}")
}

async fn listed(link: &Link, topic: &Name) -> Result<Vec<Entry>, Failure> {
    link.scene.step(format!("{topic} to be browsed"));
    let mut browser = link.transport.browse(topic).await?;
    read_all(link, &mut *browser).await
}

async fn read_all(link: &Link, browser: &mut dyn DynBrowser) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    link.scene.step("the entries of a browsed topic");
    while let Some(entry) = browser.next().await? {
        entries.push(entry);
    }
    Ok(entries)
}

fn seqs(entries: &[Entry]) -> Result<Vec<usize>, Failure> {
    entries.iter().map(|entry| read(&entry.message)).collect()
}
