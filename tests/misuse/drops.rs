//! Row 42: a publish that is dropped while it waits (contract P4).

use std::time::Duration;

use std::sync::Arc;
use tidings::Bus;
use tidings::memory::Memory;
use tokio::sync::Semaphore;

use crate::kit::{Calls, Order, assert_conserved, order, settled, shop_with, stats, within};

/// A group that takes one event and holds it until it is let.
async fn jammed(queue: usize) -> (Memory, Bus, Arc<Semaphore>, Calls) {
    let (memory, bus) = shop_with(Memory::new().queue(queue), |bus| bus.concurrency(1)).await;
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Calls::default());
    let group = bus.group("slow").window(1);
    group.with((gate.clone(), calls.clone())).on(
        async |(gate, calls): (Arc<Semaphore>, Calls), _: Order| {
            gate.acquire().await.unwrap().forget();
            calls.one();
        },
    );
    (memory, bus, gate, calls)
}

/// Emits until one would wait.
async fn fill(bus: &Bus) -> u64 {
    let mut taken = 0;
    loop {
        match bus.try_emit(order(1)) {
            Ok(_) => taken += 1,
            Err(error) => {
                assert!(error.is_full(), "{error:?}");
                // The worker may still be about to take one.
                tokio::task::yield_now().await;
                if bus.try_emit(order(1)).is_err() {
                    return taken;
                }
                taken += 1;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_42_a_dropped_publish_leaks_nothing_and_blocks_no_later_one() {
    let (memory, bus, gate, calls) = jammed(2).await;
    let mut published = fill(&bus).await;
    for number in 0..100 {
        let emit = bus.emit(order(number)).into_future();
        let waited = tokio::time::timeout(Duration::from_millis(1), emit).await;
        assert!(waited.is_err(), "it waits, and is dropped");
    }
    let later = tokio::spawn({
        let bus = bus.clone();
        async move { bus.emit(order(7)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    gate.add_permits(1_000);
    within(later).await.unwrap().unwrap();
    published += 1;
    settled(&bus).await;
    let stats = bus.group("slow").stats().unwrap();
    assert_eq!(
        (stats.completed, stats.unsettled),
        (published, 0),
        "none of the dropped ones"
    );
    assert_eq!(calls.count(), published);
    let lag = tidings::transport::Transport::lag(&memory, &bus.group("slow").wire_name())
        .await
        .unwrap();
    assert_eq!((lag[0].end, lag[0].settled), (published, published));
    bus.shutdown().await.unwrap();
}

/// Unknown to who dropped it: emitted again with the same id it is one event.
#[tokio::test(start_paused = true)]
async fn row_42_after_a_drop_the_same_id_again_is_handled_once() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = crate::kit::counting(&bus);
    let mut emit = Box::pin(bus.emit(order(1)).id("one").into_future());
    // Polled once and dropped: published, but nobody saw the answer.
    let answered = futures::poll!(emit.as_mut()).is_ready();
    drop(emit);
    assert!(answered);
    bus.emit(order(1)).id("one").await.unwrap();
    settled(&bus).await;
    assert_eq!((calls.count(), stats(&bus).duplicates), (1, 1));
    assert_conserved(&bus, 2);
}

#[tokio::test]
async fn row_42_an_emit_dropped_before_its_first_poll_never_was() {
    let bus = Bus::builder("shop").build().await.unwrap();
    let calls = crate::kit::counting(&bus);
    drop(bus.emit(order(1)).into_future());
    #[allow(unused_must_use, reason = "the point of the row")]
    {
        bus.emit(order(2));
    }
    bus.emit(order(3)).await.unwrap();
    settled(&bus).await;
    assert_eq!(calls.count(), 1);
    assert_conserved(&bus, 1);
}

/// One branch of a select wins; the emit in the other is dropped while it waits.
#[tokio::test(start_paused = true)]
async fn row_42_a_publish_dropped_by_select_frees_its_place_in_line() {
    let (_, bus, gate, calls) = jammed(1).await;
    let published = fill(&bus).await;
    tokio::select! {
        biased;
        _ = bus.emit(order(8)) => panic!("there is no room"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    gate.add_permits(1_000);
    settled(&bus).await;
    bus.try_emit(order(9)).expect("no waiter is left in line");
    settled(&bus).await;
    assert_eq!(calls.count(), published + 1);
}
