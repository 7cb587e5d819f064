//! Retained topics: bounded, browsed, never drained by anybody else.

mod support;

use support::*;
use tidings_memory::{Memory, MemoryBrowser};
use tidings_transport::{Browser, ErrorKind, Origin, Reason, Transport};

const DEAD: &str = "g.dead";

fn with_dead_letters(bound: usize) -> Memory {
    let memory = Memory::new().dead_letters(bound);
    let mut group = group("g", &["t"], 8);
    group.dead_letters = Some(DEAD.into());
    memory.attach(&group).expect("new");
    memory
}

async fn list(browser: &mut MemoryBrowser) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(entry) = browser.next().await.expect("open") {
        numbers.push(number(&entry.message.payload));
    }
    numbers
}

#[tokio::test]
async fn entries_are_kept_oldest_first_until_they_are_removed() {
    let memory = with_dead_letters(8);
    (0..3).for_each(|number| drop(put(&memory, message(DEAD, Some("k"), number))));
    let mut browser = memory.browse(&DEAD.into()).await.expect("declared");
    let first = browser.next().await.expect("open").expect("three");
    assert_eq!(
        (number(&first.message.payload), &*first.message.topic),
        (0, DEAD)
    );
    assert_eq!(list(&mut browser).await, [1, 2]);
    put(&memory, message(DEAD, None, 3));
    assert_eq!(list(&mut browser).await, [3], "what came since");
    browser.remove(&first).await.expect("removed");
    browser.remove(&first).await.expect("harmless");
    let mut again = memory.browse(&DEAD.into()).await.expect("declared");
    assert_eq!(list(&mut again).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_full_topic_refuses_at_once_and_takes_more_after_a_removal() {
    let memory = with_dead_letters(2);
    (0..2).for_each(|number| drop(put(&memory, message(DEAD, None, number))));
    let begun = tokio::time::Instant::now();
    for origin in [Origin::default(), from("g")] {
        assert_full(
            &refusal(&memory, message(DEAD, None, 9), &origin),
            DEAD,
            false,
        );
        let error = memory
            .publish(message(DEAD, None, 9), origin)
            .await
            .expect_err("full");
        assert_full(&error, DEAD, false);
    }
    assert_eq!(
        begun.elapsed(),
        std::time::Duration::ZERO,
        "waiting cannot help: nobody drains it"
    );
    let mut browser = memory.browse(&DEAD.into()).await.expect("declared");
    let first = browser.next().await.expect("open").expect("two");
    browser.remove(&first).await.expect("removed");
    put(&memory, message(DEAD, None, 2));
    assert_eq!(list(&mut browser).await, [1, 2]);
}

#[tokio::test]
async fn a_retained_topic_is_always_of_interest_even_if_asked_before() {
    let memory = Memory::new();
    let interest = memory.interest(&DEAD.into());
    assert!(interest.is_none());
    assert_eq!(
        memory
            .browse(&DEAD.into())
            .await
            .expect_err("not yet")
            .kind(),
        ErrorKind::Missing
    );
    let mut group = group("g", &["t"], 8);
    group.dead_letters = Some(DEAD.into());
    memory.attach(&group).expect("new");
    assert!(!interest.is_none());
    memory.detach(&"g".into(), &group.topics);
    assert!(!interest.is_none(), "its dead letters outlive the group");
    put(&memory, message(DEAD, None, 1));
}

#[tokio::test]
async fn a_group_may_consume_what_is_retained_all_or_none() {
    let memory = with_dead_letters(2);
    memory.attach(&group("alert", &[DEAD], 8)).expect("new");
    (0..2).for_each(|number| drop(put(&memory, message(DEAD, None, number))));
    assert_full(
        &refusal(&memory, message(DEAD, None, 2), &Origin::default()),
        DEAD,
        false,
    );
    assert_eq!(drain_now(&mut open(&memory, "alert").await), [0, 1]);
    let mut browser = memory.browse(&DEAD.into()).await.expect("declared");
    assert_eq!(list(&mut browser).await, [0, 1]);
}

#[tokio::test]
async fn patterns_never_reach_dead_letters_and_a_delay_is_refused() {
    let memory = with_dead_letters(2);
    memory.attach(&matching("audit", "#")).expect("new");
    put(&memory, message(DEAD, None, 1));
    assert_eq!(drain_now(&mut open(&memory, "audit").await), []);
    let late = delayed(DEAD, 2, std::time::Duration::from_secs(1));
    let error = refusal(&memory, late, &Origin::default());
    assert!(
        matches!(error.reason(), Reason::Unsupported(_)),
        "{error:?}"
    );
}
