use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::advance;

use super::*;

const A: u64 = 1;
const B: u64 = 2;

fn dedup(policy: DedupPolicy) -> Dedup {
    Dedup::new(&policy).expect("not off")
}

fn id(n: u32) -> EventId {
    EventId::from(format!("ord-{n}"))
}

fn first(claim: Claim) -> Guard {
    match claim {
        Claim::First(guard) => guard,
        other => panic!("{other:?}"),
    }
}

fn wait(claim: Claim) -> Wait {
    match claim {
        Claim::Running(wait) => wait,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_done_id_is_a_duplicate_for_that_handler_only() {
    let (group, other) = (dedup(DedupPolicy::default()), dedup(DedupPolicy::default()));
    assert_eq!(first(group.claim(&id(1), A, None)).done(), None);
    assert!(matches!(group.claim(&id(1), A, None), Claim::Done));
    assert!(matches!(group.claim(&id(1), B, None), Claim::First(_)));
    assert!(matches!(group.claim(&id(2), A, None), Claim::First(_)));
    assert!(matches!(other.claim(&id(1), A, None), Claim::First(_)));
    assert!(Dedup::new(&DedupPolicy::off()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_try_is_not_swallowed() {
    let dedup = dedup(DedupPolicy::default());
    for _ in 0..3 {
        drop(first(dedup.claim(&id(1), A, None)));
    }
    assert_eq!((dedup.in_progress(), dedup.len()), (0, 0));
    let panicked = tokio::spawn({
        let dedup = dedup.clone();
        async move {
            let _guard = first(dedup.claim(&id(1), A, None));
            panic!("in the handler");
        }
    });
    assert!(panicked.await.expect_err("it panicked").is_panic());
    first(dedup.claim(&id(1), A, None)).done();
    assert!(matches!(dedup.claim(&id(1), A, None), Claim::Done));
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_twin_waits_for_the_outcome() {
    let dedup = dedup(DedupPolicy::default());
    let guard = first(dedup.claim(&id(1), A, None));
    let (second, third) = (
        wait(dedup.claim(&id(1), A, None)),
        wait(dedup.claim(&id(1), A, None)),
    );
    // Another handler and another id are not held up.
    drop(first(dedup.claim(&id(1), B, None)));
    drop(first(dedup.claim(&id(2), A, None)));
    drop(guard);
    second.wait().await;
    let guard = first(dedup.claim(&id(1), A, None));
    third.wait().await;
    let third = wait(dedup.claim(&id(1), A, None));
    let given_up = wait(dedup.claim(&id(1), A, None));
    drop(given_up);
    guard.done();
    third.wait().await;
    assert!(matches!(dedup.claim(&id(1), A, None), Claim::Done));
    assert_eq!(dedup.in_progress(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_with_another_payload_is_a_collision() {
    let dedup = dedup(DedupPolicy::default());
    let guard = first(dedup.claim(&id(1), A, Some(10)));
    for handler in [A, B] {
        assert!(
            matches!(dedup.claim(&id(1), handler, Some(11)), Claim::Collision),
            "running"
        );
    }
    guard.done();
    for handler in [A, B] {
        assert!(
            matches!(dedup.claim(&id(1), handler, Some(11)), Claim::Collision),
            "done"
        );
    }
    assert!(matches!(dedup.claim(&id(1), A, Some(10)), Claim::Done));
    assert!(
        matches!(dedup.claim(&id(1), A, None), Claim::Done),
        "unknown is not different"
    );

    first(dedup.claim(&id(2), A, None)).done();
    assert!(
        matches!(dedup.claim(&id(2), A, Some(10)), Claim::Done),
        "unknown then, too"
    );
    drop(first(dedup.claim(&id(3), A, Some(10))));
    assert!(
        matches!(dedup.claim(&id(3), A, Some(11)), Claim::First(_)),
        "nothing was handled"
    );
}

#[tokio::test(start_paused = true)]
async fn texts_decide_and_not_their_representation() {
    let dedup = dedup(DedupPolicy::default());
    let compact = EventId::from("0190a5b2-0000-7000-8000-000000000001");
    let upper = EventId::from("0190A5B2-0000-7000-8000-000000000001");
    first(dedup.claim(&compact, A, None)).done();
    assert!(matches!(dedup.claim(&upper, A, None), Claim::First(_)));
    let again = EventId::from(compact.to_string());
    assert!(matches!(dedup.claim(&again, A, None), Claim::Done));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_forgotten_after_the_window_and_not_before() {
    let window = Duration::from_secs(600);
    let dedup = dedup(DedupPolicy::default().window(window));
    let slow = first(dedup.claim(&id(1), A, None));
    advance(window * 2).await;
    assert!(
        matches!(dedup.claim(&id(1), A, None), Claim::Running(_)),
        "claims have no window"
    );
    slow.done();
    advance(window).await;
    assert!(
        matches!(dedup.claim(&id(1), A, None), Claim::Done),
        "it counts from the end"
    );
    advance(window / 60).await;
    assert!(matches!(dedup.claim(&id(1), A, None), Claim::First(_)));
    assert_eq!((dedup.len(), dedup.forgotten()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn forgetting_too_early_is_counted_and_warned_about_once() {
    let dedup = dedup(DedupPolicy::default().capacity(10));
    let warnings: Vec<_> = (0..30)
        .filter_map(|n| first(dedup.claim(&id(n), A, None)).done())
        .collect();
    let [warning] = &*warnings else {
        panic!("{warnings:?}")
    };
    let text = warning.to_string();
    assert!(
        text.contains("more than 10 ids") && text.contains("10min"),
        "{text}"
    );
    assert_eq!((dedup.forgotten(), dedup.len()), (20, 10));
    for n in 20..30 {
        assert!(matches!(dedup.claim(&id(n), A, None), Claim::Done), "{n}");
    }
    assert!(matches!(dedup.claim(&id(19), A, None), Claim::First(_)));
}

/// Faults F35 and F36: copies of every event on several threads, the first tries of which fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_twins_have_one_effect_and_never_overlap() {
    const IDS: u32 = 300;
    const COPIES: u32 = 6;
    let dedup = dedup(DedupPolicy::default());
    let effects: Arc<Vec<AtomicU32>> = Arc::new((0..IDS * 2).map(|_| AtomicU32::new(0)).collect());
    let inside: Arc<Vec<AtomicU32>> = Arc::new((0..IDS * 2).map(|_| AtomicU32::new(0)).collect());
    let waited = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(COPIES as usize));
    let mut copies = JoinSet::new();
    for copy in 0..COPIES {
        let (dedup, start) = (dedup.clone(), Arc::clone(&start));
        let (effects, inside) = (Arc::clone(&effects), Arc::clone(&inside));
        let waited = Arc::clone(&waited);
        copies.spawn(async move {
            for n in 0..IDS {
                // All copies of an event arrive at once.
                start.wait().await;
                for handler in [A, B] {
                    let here = (n * 2) as usize + usize::from(handler == B);
                    let mut fails = copy % 2 == 0;
                    loop {
                        match dedup.claim(&id(n), handler, Some(u64::from(n))) {
                            Claim::Done => break,
                            Claim::Collision => panic!("one payload"),
                            Claim::Running(wait) => {
                                waited.fetch_add(1, Ordering::Relaxed);
                                wait.wait().await;
                            }
                            Claim::First(guard) => {
                                assert_eq!(inside[here].fetch_add(1, Ordering::SeqCst), 0);
                                tokio::task::yield_now().await;
                                assert_eq!(inside[here].fetch_sub(1, Ordering::SeqCst), 1);
                                if std::mem::take(&mut fails) {
                                    drop(guard);
                                    continue;
                                }
                                effects[here].fetch_add(1, Ordering::SeqCst);
                                guard.done();
                                break;
                            }
                        }
                    }
                }
            }
        });
    }
    copies.join_all().await;
    assert!(
        effects
            .iter()
            .all(|effect| effect.load(Ordering::SeqCst) == 1)
    );
    assert!(waited.load(Ordering::Relaxed) > 0, "the copies did meet");
    assert_eq!((dedup.in_progress(), dedup.len()), (0, IDS as usize));
}
