//! Ack, release, drop; the window; lag; at most once.

mod support;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{
    Batch, Consumer, ErrorKind, Mode, Received, Signal, Start, Timestamp, Transport,
};

async fn filled(count: u64) -> Memory {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 1_000)).expect("new");
    (0..count).for_each(|number| drop(put(&memory, message("t", Some("k"), number))));
    memory
}

#[tokio::test]
async fn what_is_given_back_returns_to_its_place_with_a_growing_attempt() {
    let memory = filled(6).await;
    let mut consumer = open(&memory, "g").await;
    let mut held: Vec<_> = take(&mut consumer, 4).await.into_iter().map(Some).collect();
    for index in [2, 0, 3] {
        held[index].take().expect("once").release();
    }
    let again = take(&mut consumer, 9).await;
    assert_eq!(numbers(&again), [0, 2, 3, 4, 5]);
    let attempts: Vec<_> = again
        .iter()
        .map(|received| received.origination.attempt)
        .collect();
    assert_eq!(attempts, [2, 2, 2, 1, 1]);
    drop((again, held));
    let all = take(&mut consumer, 9).await;
    let attempts: Vec<_> = all
        .iter()
        .map(|received| received.origination.attempt)
        .collect();
    assert_eq!(
        (numbers(&all), attempts),
        (vec![0, 1, 2, 3, 4, 5], vec![3, 2, 3, 3, 2, 2])
    );
}

#[tokio::test]
async fn a_batch_is_limited_by_max_and_by_the_window() {
    let memory = filled(10).await;
    let mut wanted = subscribe("g");
    wanted.window = 4;
    let mut consumer = memory.subscribe(wanted).await.expect("attached");
    let mut batch = Batch::default();
    assert_eq!(
        consumer.receive(0, &mut batch).await.expect("open"),
        Signal::Batch
    );
    assert_eq!(
        consumer.receive(3, &mut batch).await.expect("open"),
        Signal::Batch
    );
    assert_eq!(
        consumer.receive(3, &mut batch).await.expect("open"),
        Signal::Batch
    );
    let mut batch: Vec<Received> = batch.drain().collect();
    assert_eq!(numbers(&batch), [0, 1, 2, 3]);
    assert!(
        poll_once(consumer.receive(3, &mut Batch::default())).is_pending(),
        "the window is full"
    );

    let waiting = tokio::spawn(async move { numbers(&take(&mut consumer, 9).await) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    batch.remove(1).ack();
    assert_eq!(waiting.await.expect("no panic"), [4]);
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let memory = filled(0).await;
    let mut consumer = open(&memory, "g").await;
    for number in 0..100 {
        let mut batch = Batch::default();
        assert!(poll_once(consumer.receive(9, &mut batch)).is_pending());
        put(&memory, message("t", None, number));
        assert_eq!(drain_now(&mut consumer), [number]);
    }
}

#[tokio::test]
async fn a_dropped_consumer_keeps_what_it_holds_until_it_is_settled() {
    let memory = filled(3).await;
    let mut first = open(&memory, "g").await;
    let mut held = take(&mut first, 2).await;
    drop(first);
    assert!(held[0].revoked().is_cancelled());
    assert_eq!(lag(&memory, "g").await, (3, 0));
    held.remove(0).ack();
    assert_eq!(lag(&memory, "g").await, (3, 1));
    held.remove(0).release();
    let mut second = open(&memory, "g").await;
    let again = take(&mut second, 9).await;
    assert_eq!(numbers(&again), [1, 2]);
    assert!(!again[0].revoked().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn closing_a_consumer_fires_its_tokens_and_waits_for_its_messages() {
    let memory = filled(2).await;
    let mut consumer = open(&memory, "g").await;
    let held = take(&mut consumer, 2).await;
    let handler = tokio::spawn(async move {
        held[0].revoked().cancelled().await;
        held.into_iter().for_each(Received::release);
    });
    consumer.close(LONG).await.expect("given back in time");
    handler.await.expect("no panic");

    let mut consumer = open(&memory, "g").await;
    let held = take(&mut consumer, 2).await;
    let begun = tokio::time::Instant::now();
    let deadline = std::time::Duration::from_secs(2);
    let error = consumer.close(deadline).await.expect_err("still held");
    assert_eq!(
        (error.kind(), begun.elapsed()),
        (ErrorKind::Timeout, deadline)
    );
    assert!(
        error.to_string().starts_with("2 messages of group \"g\""),
        "{error}"
    );
    drop(held);
    assert_eq!(drain_now(&mut open(&memory, "g").await), [0, 1]);
}

#[tokio::test]
async fn lag_is_monotonic_over_members_that_come_and_go() {
    let memory = filled(30).await;
    let mut settled = 0;
    for round in 0..10 {
        let mut consumer = open(&memory, "g").await;
        let mut held = take(&mut consumer, 3).await;
        held.remove(0).ack();
        if round % 2 == 0 {
            drop(consumer);
        }
        held.remove(0).ack();
        drop(held);
        settled += 2;
        assert_eq!(lag(&memory, "g").await, (30, settled));
    }
    drain_now(&mut open(&memory, "g").await);
    assert_eq!(lag(&memory, "g").await, (30, 30));
}

#[tokio::test]
async fn at_most_once_is_final_before_it_is_handed_over() {
    let memory = filled(5).await;
    let mut wanted = subscribe("g");
    (wanted.mode, wanted.window) = (Mode::AtMostOnce, 3);
    let mut consumer = memory.subscribe(wanted).await.expect("attached");
    let mut held = take(&mut consumer, 9).await;
    assert_eq!(
        (numbers(&held), lag(&memory, "g").await),
        (vec![0, 1, 2], (5, 3))
    );
    assert!(
        poll_once(consumer.receive(9, &mut Batch::default())).is_pending(),
        "it loses at most W"
    );
    held.remove(0).ack();
    held.remove(0).release();
    drop(held);
    assert_eq!(memory.counts().late, 2);
    assert_eq!(
        numbers(&take_now(&mut consumer, 9)),
        [3, 4],
        "nothing is repeated"
    );
    drop(consumer);
    assert_eq!(lag(&memory, "g").await, (5, 5));
}

#[tokio::test]
async fn the_past_is_refused_and_the_other_starts_mean_the_queue() {
    let memory = filled(1).await;
    let mut wanted = subscribe("g");
    let replay = Mode::Replay { until: None };
    for (start, mode) in [
        (Start::At(Timestamp::from_micros(0)), Mode::AtLeastOnce),
        (Start::Offset(0), Mode::AtLeastOnce),
        (Start::Earliest, replay),
    ] {
        (wanted.start, wanted.mode) = (start, mode);
        let error = memory
            .subscribe(wanted.clone())
            .await
            .expect_err("nothing is retained");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    (wanted.start, wanted.mode) = (Start::Latest, Mode::AtLeastOnce);
    let mut consumer = memory.subscribe(wanted).await.expect("attached");
    assert_eq!(drain_now(&mut consumer), [0], "the group existed before");
}

#[tokio::test]
async fn a_slot_is_free_once_its_message_is_taken() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 2)).expect("new");
    let mut consumer = open(&memory, "g").await;
    (0..2).for_each(|number| drop(put(&memory, message("t", None, number))));
    assert!(waits(&memory, message("t", None, 2), &Default::default()));
    let held = take(&mut consumer, 1).await;
    put(&memory, message("t", None, 2));
    assert!(waits(&memory, message("t", None, 3), &Default::default()));
    drop(held);
    assert!(waits(&memory, message("t", None, 3), &Default::default()));
    assert_eq!(drain_now(&mut consumer), [0, 1, 2]);
}

#[tokio::test]
async fn row_72_a_settle_after_the_removal_of_the_group_has_no_effect_but_a_count() {
    let memory = filled(2).await;
    let mut consumer = open(&memory, "g").await;
    let mut held = take(&mut consumer, 2).await;
    drop(consumer);
    memory.detach(&"g".into(), &group("g", &["t"], 1).topics);
    held.remove(0).ack();
    held.remove(0).release();
    assert_eq!(memory.counts().dropped, 1);
}
