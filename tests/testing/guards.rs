//! A test that goes wrong says so, and never hangs.

use std::time::Duration;

use tidings::testing::TestBus;
use tidings::{Bus, SystemClock, permanent};

use super::{OrderPlaced, order};

#[tokio::test]
#[should_panic(expected = "keeps 2 published events and 1 more came")]
async fn an_incomplete_record_is_refused() {
    let bus = TestBus::builder("shop").keep(2).build().await.unwrap();
    assert!(
        bus.emit_all((0..3).map(order))
            .await
            .iter()
            .all(Result::is_ok)
    );
    let _ = bus.published::<OrderPlaced>();
}

#[tokio::test]
async fn a_forgotten_record_has_room_again() {
    let bus = TestBus::builder("shop").keep(2).build().await.unwrap();
    bus.on(async |_: OrderPlaced| ());
    for round in 0..3 {
        assert!(
            bus.emit_all((0..2).map(order))
                .await
                .iter()
                .all(Result::is_ok)
        );
        bus.settled().await;
        assert_eq!(bus.published::<OrderPlaced>().len(), 2, "round {round}");
        assert_eq!(bus.handled::<OrderPlaced>().len(), 2, "round {round}");
        bus.forget();
    }
}

#[tokio::test]
#[should_panic(
    expected = "group shop: 2 events not final, 2 of them taken; 0 completed, 1 dead-lettered"
)]
async fn a_bus_that_never_settles_is_named_with_its_groups() {
    let bus = TestBus::builder("shop")
        .memory(|memory| memory.dead_letters(1))
        .build()
        .await
        .unwrap();
    bus.on(async |_: OrderPlaced| Err(permanent("no")));
    bus.emit_all((0..3).map(order)).await;
    bus.settled().await;
}

#[tokio::test]
async fn a_handler_that_waits_for_itself_is_told() {
    let bus = TestBus::new("shop").await;
    bus.with(bus.clone())
        .on(async |bus: TestBus, _: OrderPlaced| bus.settled().await);
    bus.emit(order(1)).await.unwrap();
    bus.settled().await;
    let dead = &bus.dead_letters("shop").await[0];
    assert_eq!(dead.reason(), "panicked");
    assert!(
        dead.error().contains("the bus to settle"),
        "{}",
        dead.error()
    );
}

#[tokio::test]
#[should_panic(expected = "no dead letters of \"audti\"")]
async fn a_misspelt_group_is_no_empty_list() {
    let bus = TestBus::new("shop").await;
    bus.group("audit").on(async |_: OrderPlaced| ());
    let _ = bus.dead_letters("audti").await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_an_error_as_on_any_bus() {
    let error = TestBus::builder("shop")
        .memory(|memory| memory.queue(0))
        .configure(|bus| bus.concurrency(0))
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error:?}");
    assert!(
        error
            .problems()
            .iter()
            .any(|problem| problem.contains("queue is 0")),
        "{error:?}"
    );
    assert!(
        error
            .problems()
            .iter()
            .any(|problem| problem.contains("concurrency is 0")),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_the_test_configures_wins() {
    let bus = TestBus::builder("shop")
        .configure(|bus| bus.clock(SystemClock))
        .build()
        .await
        .unwrap();
    let start = bus.now();
    bus.advance(Duration::from_secs(86_400)).await;
    let passed = bus.now().as_micros() - start.as_micros();
    assert!(
        passed < 86_400_000_000,
        "the system's clock does not jump: {passed} µs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "only a current-thread runtime can do")]
async fn a_runtime_whose_clock_cannot_stop_is_refused() {
    let _ = TestBus::new("shop").await;
}

/// A plain bus beside it records nothing and is not slowed down.
#[tokio::test]
async fn a_plain_bus_in_the_same_test_keeps_its_fast_path() {
    let (plain, bus) = (
        Bus::builder("plain").build().await.unwrap(),
        TestBus::new("shop").await,
    );
    plain.emit(order(1)).await.unwrap();
    assert!(bus.published::<OrderPlaced>().is_empty());
}
