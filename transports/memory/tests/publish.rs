//! A place in every group's queue or in none; waiting in order; the emitter's own queue.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{Groups, Origin, Reason, Transport, TryPublish};
use tokio::time::Instant;

fn outside() -> Origin {
    Origin::default()
}

#[tokio::test(start_paused = true)]
async fn a_publish_takes_a_place_in_every_group_or_in_none() {
    let memory = Memory::new();
    memory.attach(&group("wide", &["t"], 8)).expect("new");
    memory.attach(&group("narrow", &["t"], 1)).expect("new");
    assert_eq!(
        put(&memory, message("t", None, 1))
            .groups
            .names()
            .map(<[_]>::len),
        Some(2)
    );
    assert!(waits(&memory, message("t", None, 2), &outside()));
    let mut waiting = Box::pin(memory.publish(message("t", None, 3), outside()));
    assert!(poll_once(&mut waiting).is_pending());

    // It waits holding nothing: the wide group has only the first, and its lag says so too.
    let mut wide = open(&memory, "wide").await;
    assert_eq!(drain_now(&mut wide), [1]);
    assert_eq!(lag(&memory, "wide").await, (1, 1));

    let mut narrow = open(&memory, "narrow").await;
    assert_eq!(drain_now(&mut narrow), [1]);
    waiting.await.expect("room");
    assert_eq!(
        (drain_now(&mut wide), drain_now(&mut narrow)),
        (vec![3], vec![3])
    );
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_their_order_and_never_overtaken() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", Some("k"), 0));
    let mut line: Vec<_> = (1..=5)
        .map(|number| Box::pin(memory.publish(message("t", Some("k"), number), outside())))
        .collect();
    line.iter_mut()
        .for_each(|publish| assert!(poll_once(publish).is_pending()));
    let mut consumer = open(&memory, "g").await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.extend(drain_now(&mut consumer));
        // Whoever comes now would overtake, unless the line is empty.
        let late = memory.try_publish(message("t", Some("k"), 99), &outside());
        assert!(
            matches!(late, TryPublish::Wait(_)) == (seen.len() < 6),
            "after {seen:?}"
        );
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    for publish in line {
        publish.await.expect("served");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_in_not_published() {
    let memory = Memory::new().publish_deadline(Duration::from_secs(5));
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    let begun = Instant::now();
    let error = memory
        .publish(message("t", None, 1), outside())
        .await
        .expect_err("no room");
    assert_full(&error, "g", false);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    let mut consumer = open(&memory, "g").await;
    assert_eq!(drain_now(&mut consumer), [0]);
    assert_eq!(
        drain_now(&mut consumer),
        [],
        "nobody sees what was not published"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_publish_leaks_nothing_and_blocks_nobody() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    let payload = Arc::new([7_u8; 8]);
    let mut dropped = message("t", None, 1);
    dropped.payload =
        tidings_transport::Payload::Bytes(bytes::Bytes::from_owner(Watched(Arc::clone(&payload))));
    let mut first = Box::pin(memory.publish(dropped, outside()));
    let mut second = Box::pin(memory.publish(message("t", None, 2), outside()));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    drop(first);
    assert_eq!(
        Arc::strong_count(&payload),
        1,
        "the line let go of the message"
    );
    let mut consumer = open(&memory, "g").await;
    assert_eq!(drain_now(&mut consumer), [0]);
    second.await.expect("served");
    assert_eq!(drain_now(&mut consumer), [2]);
}

struct Watched(Arc<[u8; 8]>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

#[tokio::test]
async fn a_stuck_group_delays_only_publishers_of_its_own_topics() {
    let memory = Memory::new();
    memory.attach(&group("stuck", &["a"], 1)).expect("new");
    memory.attach(&group("well", &["b"], 9)).expect("new");
    put(&memory, message("a", None, 0));
    let mut waiting = Box::pin(memory.publish(message("a", None, 1), outside()));
    assert!(poll_once(&mut waiting).is_pending());
    (0..9).for_each(|number| drop(put(&memory, message("b", None, number))));
}

#[tokio::test(start_paused = true)]
async fn topics_that_wait_for_one_group_take_turns() {
    let memory = Memory::new();
    memory.attach(&group("g", &["a", "b"], 2)).expect("new");
    (0..2).for_each(|_| drop(put(&memory, message("a", None, 0))));
    let mut line: Vec<_> = [("a", 1), ("a", 2), ("b", 11), ("b", 12)]
        .map(|(topic, number)| Box::pin(memory.publish(message(topic, None, number), outside())))
        .into();
    line.iter_mut()
        .for_each(|publish| assert!(poll_once(publish).is_pending()));
    let mut consumer = open(&memory, "g").await;
    let batches = [0; 3].map(|_| drain_now(&mut consumer));
    assert_eq!(batches, [[0, 0], [1, 11], [2, 12]]);
}

#[tokio::test(start_paused = true)]
async fn row_40_an_own_full_queue_spills_and_then_refuses_at_once() {
    let memory = Memory::new().spill(2);
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    assert!(
        waits(&memory, message("t", None, 9), &outside()),
        "others wait"
    );
    let own = from("g");
    for number in [1, 2] {
        let done = memory.try_publish(message("t", None, number), &own);
        assert!(matches!(done, TryPublish::Done(_)), "{done:?}");
    }
    let error = refusal(&memory, message("t", None, 3), &own);
    assert_full(&error, "g", true);
    let begun = Instant::now();
    let error = memory
        .publish(message("t", None, 3), own)
        .await
        .expect_err("no spill left");
    assert_full(&error, "g", true);
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "it never waits for its own queue"
    );
    assert_eq!(drain_now(&mut open(&memory, "g").await), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn row_40_a_handler_does_not_wait_behind_those_that_wait_for_its_queue() {
    let memory = Memory::new().spill(2);
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    let mut outsider = Box::pin(memory.publish(message("t", None, 5), outside()));
    assert!(poll_once(&mut outsider).is_pending());
    let begun = Instant::now();
    memory
        .publish(message("t", None, 1), from("g"))
        .await
        .expect("spilled");
    let done = memory.try_publish(message("t", None, 2), &from("g"));
    assert!(matches!(done, TryPublish::Done(_)), "{done:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn row_40_the_spill_waits_for_other_groups_only() {
    let memory = Memory::new().spill(1);
    memory.attach(&group("own", &["t"], 1)).expect("new");
    memory.attach(&group("other", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    // The head waits for both, the handler's emit behind it for the other group alone.
    let mut outsider = Box::pin(memory.publish(message("t", None, 1), outside()));
    let mut emit = Box::pin(memory.publish(message("t", None, 2), from("own")));
    assert!(poll_once(&mut outsider).is_pending() && poll_once(&mut emit).is_pending());
    let mut other = open(&memory, "other").await;
    assert_eq!(drain_now(&mut other), [0]);
    emit.await
        .expect("room in the other group, a spill in its own");
    assert!(poll_once(&mut outsider).is_pending());
    assert_eq!(drain_now(&mut other), [2]);
    assert_eq!(drain_now(&mut open(&memory, "own").await), [0, 2]);
    outsider.await.expect("room in both");
}

#[tokio::test(start_paused = true)]
async fn without_the_spill_a_waiting_emit_is_refused_as_soon_as_only_its_own_queue_is_full() {
    let memory = Memory::new().spill(0);
    memory.attach(&group("own", &["t", "u"], 1)).expect("new");
    memory.attach(&group("other", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    assert_eq!(drain_now(&mut open(&memory, "own").await), [0]);
    let mut emit = Box::pin(memory.publish(message("t", None, 1), from("own")));
    assert!(poll_once(&mut emit).is_pending(), "the other group is full");
    put(&memory, message("u", None, 2));
    assert_eq!(drain_now(&mut open(&memory, "other").await), [0]);
    assert_full(
        &emit.await.expect_err("its own queue is full by now"),
        "own",
        true,
    );
}

#[test]
fn no_subscriber_is_ok_and_the_receipt_says_so() {
    let memory = Memory::new();
    let receipt = put(&memory, message("t", None, 0));
    assert_eq!(receipt.groups.names(), Some(&[][..]));
}

#[test]
fn receipts_of_one_topic_share_their_names() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    memory.attach(&group("h", &["t"], 8)).expect("new");
    let receipts = [0, 1].map(|number| put(&memory, message("t", None, number)).groups);
    let [Groups::Several(first), Groups::Several(second)] = receipts else {
        panic!("no groups: {receipts:?}")
    };
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(*first, ["g", "h"]);
}

#[test]
fn row_43_off_runtime_a_publish_works_until_it_would_wait() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 1)).expect("new");
    let std::task::Poll::Ready(Ok(_)) = poll_once(memory.publish(message("t", None, 0), outside()))
    else {
        panic!("there was room")
    };
    let std::task::Poll::Ready(Err(error)) =
        poll_once(memory.publish(message("t", None, 1), outside()))
    else {
        panic!("there was none")
    };
    assert!(
        !error.is_unknown() && matches!(error.reason(), Reason::Unsupported(_)),
        "{error:?}"
    );
    assert!(
        waits(&memory, message("t", None, 1), &outside()),
        "nobody is left in the line"
    );
}

#[tokio::test(start_paused = true)]
async fn row_41_many_publishes_in_flight_keep_their_order_and_the_queue_its_bound() {
    let memory = Memory::new().publish_deadline(LONG);
    memory.attach(&group("g", &["t"], 4)).expect("new");
    let mut line: Vec<_> = (0..20_000)
        .map(|number| Box::pin(memory.publish(message("t", Some("k"), number), outside())))
        .collect();
    for publish in &mut line {
        let _ = poll_once(publish);
    }
    let mut consumer = open(&memory, "g").await;
    let mut seen = Vec::new();
    while seen.len() < line.len() {
        let batch = drain_now(&mut consumer);
        assert!(
            (1..=4).contains(&batch.len()),
            "{} after {}",
            batch.len(),
            seen.len()
        );
        seen.extend(batch);
    }
    assert!(seen.iter().copied().eq(0..20_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_publishers_lose_nothing_and_keep_their_own_order() {
    let memory = Memory::new();
    for name in ["a", "b"] {
        memory.attach(&group(name, &["t", "u"], 3)).expect("new");
    }
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4_u64 {
        let memory = memory.clone();
        publishers.spawn(async move {
            for number in 0..500 {
                let topic = if publisher % 2 == 0 { "t" } else { "u" };
                let message = message(topic, Some("k"), publisher * 1_000 + number);
                memory
                    .publish(message, Origin::default())
                    .await
                    .expect("room in time");
            }
        });
    }
    for name in ["a", "b"] {
        let mut consumer = open(&memory, name).await;
        publishers.spawn(async move {
            let mut next = [0; 4];
            while next.iter().sum::<u64>() < 2_000 {
                for received in take(&mut consumer, 2).await {
                    let number = number(&received.payload);
                    let publisher = usize::try_from(number / 1_000).expect("small");
                    assert_eq!(number % 1_000, next[publisher]);
                    next[publisher] += 1;
                    received.ack();
                }
            }
        });
    }
    while let Some(ended) = publishers.join_next().await {
        ended.expect("no panic");
    }
}
