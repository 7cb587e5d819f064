//! Closing one connection, dropping the last.

mod support;

use std::time::Duration;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{
    Batch, CloseReport, Consumer, ErrorKind, Health, Origin, Received, Signal, Transport,
};

#[tokio::test(start_paused = true)]
async fn a_closed_connection_refuses_everything() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 1)).expect("new");
    put(&memory, message("t", None, 0));
    let mut waiting = Box::pin(memory.publish(message("t", None, 1), Origin::default()));
    assert!(poll_once(&mut waiting).is_pending());
    let mut consumer = open(&memory, "g").await;
    let report = memory.close(LONG).await.expect("nothing is held");
    assert_eq!(
        report,
        CloseReport {
            unflushed: 0,
            unsettled: 1
        },
        "one is queued"
    );
    assert_closed(&waiting.await.expect_err("closed"));
    assert_eq!(memory.health(), Health::Closed);

    // contract: S3
    assert_closed(&refusal(&memory, message("t", None, 2), &Origin::default()));
    let error = memory
        .publish(message("t", None, 2), Origin::default())
        .await;
    assert_closed(&error.expect_err("closed"));
    let mut batch = Batch::default();
    assert_eq!(
        consumer.receive(9, &mut batch).await.expect("no error"),
        Signal::Closed
    );
    assert!(batch.is_empty());
    assert_eq!(
        memory
            .attach(&group("h", &["t"], 1))
            .expect_err("closed")
            .kind(),
        ErrorKind::Closed
    );
    let kinds = [
        memory
            .subscribe(subscribe("g"))
            .await
            .expect_err("closed")
            .kind(),
        memory.lag(&"g".into()).await.expect_err("closed").kind(),
        memory
            .browse(&"g.dead".into())
            .await
            .expect_err("closed")
            .kind(),
        memory
            .declare(&Default::default())
            .await
            .expect_err("closed")
            .kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 4]);
    assert_eq!(memory.close(LONG).await.expect("harmless"), report);
}

#[tokio::test(start_paused = true)]
async fn closing_one_connection_leaves_the_others_alone() {
    let one = Memory::new();
    let two = one.clone();
    one.attach(&group("g", &["t"], 1)).expect("new");
    put(&one, message("t", None, 0));
    let mut mine = Box::pin(one.publish(message("t", None, 1), Origin::default()));
    let mut theirs = Box::pin(two.publish(message("t", None, 2), Origin::default()));
    assert!(poll_once(&mut mine).is_pending() && poll_once(&mut theirs).is_pending());
    let mut consumer = open(&two, "g").await;
    one.close(LONG).await.expect("nothing is held");
    assert_closed(&mine.await.expect_err("closed"));
    assert_eq!(
        numbers(&take_now(&mut consumer, 9)),
        [0],
        "unsettled, and dropped here"
    );
    theirs.await.expect("still open");
    let reopened = one.clone();
    assert_eq!(reopened.health(), Health::Connected);
    assert_eq!(drain_now(&mut consumer), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn close_fires_the_tokens_first_and_waits_for_what_is_held() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    (0..3).for_each(|number| drop(put(&memory, message("t", None, number))));
    let mut consumer = open(&memory, "g").await;
    let held = take(&mut consumer, 2).await;
    let handler = tokio::spawn(async move {
        held[0].revoked().cancelled().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.into_iter().for_each(Received::ack);
    });
    let report = memory.close(LONG).await.expect("settled in time");
    assert_eq!(report.unsettled, 1, "the one nobody took");
    handler.await.expect("no panic");
    assert_eq!(lag(&memory.clone(), "g").await, (3, 2));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_with_a_stuck_consumer_and_counts_what_is_left() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    (0..3).for_each(|number| drop(put(&memory, message("t", None, number))));
    let mut consumer = open(&memory, "g").await;
    let held = take(&mut consumer, 2).await;
    let begun = tokio::time::Instant::now();
    let error = memory
        .close(Duration::from_secs(5))
        .await
        .expect_err("still held");
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.to_string().contains("2 messages are still unsettled"),
        "{error}"
    );
    assert!(error.to_string().contains("1 are queued"), "{error}");
    drop(held);
    assert_eq!(memory.close(LONG).await.expect("given back").unsettled, 3);
}

#[tokio::test]
async fn a_receive_that_waits_for_its_window_ends_with_the_connection() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    (0..2).for_each(|number| drop(put(&memory, message("t", None, number))));
    let mut wanted = subscribe("g");
    wanted.window = 1;
    let mut consumer = memory.subscribe(wanted).await.expect("attached");
    let held = take(&mut consumer, 1).await;
    let waiting = tokio::spawn(async move { consumer.receive(1, &mut Batch::default()).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let _ = memory.close(Duration::ZERO).await;
    assert_eq!(
        waiting.await.expect("no panic").expect("no error"),
        Signal::Closed
    );
    drop(held);
}

#[test]
fn the_last_drop_needs_no_runtime_and_ends_the_consumers_once_they_drained() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    put(&memory, message("t", None, 1));
    let std::task::Poll::Ready(Ok(mut consumer)) = poll_once(memory.subscribe(subscribe("g")))
    else {
        panic!("nothing to wait for")
    };
    drop(memory);
    let held = take_now(&mut consumer, 8);
    assert_eq!(numbers(&held), [1]);
    let mut batch = Batch::default();
    assert!(
        poll_once(consumer.receive(8, &mut batch)).is_pending(),
        "one may still come back"
    );
    held.into_iter().for_each(Received::ack);
    let ended = poll_once(consumer.receive(8, &mut batch)).map(Result::ok);
    assert_eq!(ended, std::task::Poll::Ready(Some(Signal::Closed)));
}

#[test]
fn dropping_everything_frees_every_message() {
    let memory = Memory::new();
    let payload = std::sync::Arc::new(());
    struct Owner(#[allow(dead_code)] std::sync::Arc<()>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"1"
        }
    }
    memory.attach(&group("g", &["t"], 1)).expect("new");
    for _ in 0..2 {
        let mut tracked = message("t", None, 1);
        let bytes = bytes::Bytes::from_owner(Owner(payload.clone()));
        tracked.payload = tidings_transport::Payload::Bytes(bytes);
        // The second finds the queue full, waits, and is dropped as it waits.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        let _ = poll_once(memory.publish(tracked, Origin::default()));
    }
    assert_eq!(std::sync::Arc::strong_count(&payload), 2, "one is queued");
    drop(memory);
    assert_eq!(std::sync::Arc::strong_count(&payload), 1);
}
