//! Delayed messages, on tokio's clock.

mod support;

use std::time::Duration;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{Message, Origin, Reason, Transport};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

async fn with_queue(queue: usize) -> Memory {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], queue)).expect("new");
    memory
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_comes_when_it_is_due_and_holds_nobody_up() {
    let memory = with_queue(8).await;
    let mut consumer = open(&memory, "g").await;
    let begun = Instant::now();
    put(&memory, delayed("t", 3, SECOND * 3));
    put(&memory, delayed("t", 1, SECOND));
    put(&memory, message("t", None, 0));
    put(&memory, delayed("t", 2, SECOND));
    put(
        &memory,
        Message {
            delay: Some(Duration::ZERO),
            ..message("t", None, 10)
        },
    );
    assert_eq!(lag(&memory, "g").await, (5, 0));
    let mut seen = Vec::new();
    while seen.len() < 5 {
        for received in take(&mut consumer, 8).await {
            seen.push((number(&received.payload), begun.elapsed().as_secs()));
            received.ack();
        }
    }
    assert_eq!(seen, [(0, 0), (10, 0), (1, 1), (2, 1), (3, 3)]);
    assert_eq!(lag(&memory, "g").await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_a_millisecond_early() {
    let memory = with_queue(8).await;
    let mut consumer = open(&memory, "g").await;
    put(&memory, delayed("t", 1, SECOND));
    tokio::time::advance(SECOND - Duration::from_millis(1)).await;
    assert_eq!(drain_now(&mut consumer), []);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(drain_now(&mut consumer), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_waits_for_a_late_one_wakes_for_an_earlier_one() {
    let memory = with_queue(8).await;
    let mut consumer = open(&memory, "g").await;
    put(&memory, delayed("t", 9, LONG));
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { (numbers(&take(&mut consumer, 8).await), consumer) });
    tokio::task::yield_now().await;
    put(&memory, delayed("t", 1, SECOND));
    let (seen, _consumer) = waiting.await.expect("no panic");
    assert_eq!((seen, begun.elapsed()), (vec![1], SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_holds_its_place_in_the_bounded_queue() {
    let memory = with_queue(2).await;
    put(&memory, delayed("t", 1, SECOND));
    put(&memory, delayed("t", 2, SECOND));
    assert!(waits(&memory, message("t", None, 3), &Origin::default()));
    let mut consumer = open(&memory, "g").await;
    let held = take(&mut consumer, 8).await;
    assert_eq!(numbers(&held), [1, 2]);
    put(&memory, message("t", None, 3));
}

#[tokio::test(start_paused = true)]
async fn the_delay_counts_from_the_publish_not_from_the_end_of_its_wait() {
    let memory = with_queue(1).await;
    put(&memory, message("t", None, 0));
    let begun = Instant::now();
    let mut waiting = Box::pin(memory.publish(delayed("t", 1, SECOND * 3), Origin::default()));
    assert!(poll_once(&mut waiting).is_pending());
    tokio::time::advance(SECOND * 2).await;
    let mut consumer = open(&memory, "g").await;
    assert_eq!(drain_now(&mut consumer), [0]);
    waiting.await.expect("its place is held");
    assert_eq!(numbers(&take(&mut consumer, 8).await), [1]);
    assert_eq!(begun.elapsed(), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_of_a_removed_group_is_still_delivered() {
    let memory = with_queue(8).await;
    let mut consumer = open(&memory, "g").await;
    put(&memory, delayed("t", 1, SECOND));
    memory.detach(&"g".into(), &group("g", &["t"], 8).topics);
    assert_eq!(numbers(&take(&mut consumer, 8).await), [1]);
    assert_eq!(memory.counts().dropped, 0);
}

#[test]
fn an_endless_delay_is_refused_and_names_its_value() {
    let memory = Memory::new();
    let error = refusal(&memory, delayed("t", 1, Duration::MAX), &Origin::default());
    let Reason::Invalid(text) = error.reason() else {
        panic!("{error:?}")
    };
    assert!(text.contains(&format!("{:?}", Duration::MAX)), "{text}");
}
