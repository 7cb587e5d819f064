//! The watermark, the window, and what comes late.

use tidings_transport::{Carried, Headers, Origination, Payload};

use super::*;

fn partition(window: usize, mode: Mode) -> Arc<Partition> {
    Partition::new(Name::from_static("t"), 0, window, mode, &Arc::default())
}

fn message() -> Inbound {
    Inbound {
        topic: Name::from_static("t"),
        key: None,
        envelope: Carried::Raw(Headers::new()),
        headers: Headers::new(),
        payload: Payload::Tombstone,
        origination: Origination::default(),
    }
}

fn taken(partition: &Arc<Partition>, offsets: &[i64]) -> Vec<Received> {
    take_in(partition, offsets.iter().copied());
    handed(partition, 100)
}

fn take_in(partition: &Partition, offsets: impl IntoIterator<Item = i64>) {
    let index = i64::cast_unsigned;
    let polled = offsets.into_iter();
    let mut polled = polled
        .map(|offset| Received::queued(message(), index(offset)))
        .collect();
    partition.take_in(&mut polled);
    assert!(polled.is_empty(), "all are taken in, or dropped");
}

fn handed(partition: &Arc<Partition>, max: usize) -> Vec<Received> {
    let mut batch = Batch::default();
    partition.hand_over(max, &mut batch);
    batch.drain().collect()
}

fn offsets(received: &[Received]) -> Vec<u64> {
    received.iter().map(Received::index).collect()
}

/// Trap 1, contract D3: what is stored is the next offset of a run without holes.
#[test]
fn the_mark_waits_for_the_slowest() {
    let partition = partition(10, Mode::AtLeastOnce);
    partition.begin_at(5);
    let mut received = taken(&partition, &[5, 6, 7]);
    received.remove(2).ack();
    received.remove(1).ack();
    assert_eq!(partition.to_store(), None);
    received.remove(0).ack();
    assert_eq!(partition.to_store(), Some(8));
    assert_eq!(partition.to_store(), None, "nothing is stored twice");
}

/// Compaction and transaction markers leave holes, which nobody settles.
#[test]
fn holes_between_offsets_are_final() {
    let partition = partition(10, Mode::AtLeastOnce);
    let mut received = taken(&partition, &[3, 9, 20]);
    assert_eq!(partition.to_store(), Some(3), "where it began");
    received.remove(1).ack();
    received.remove(0).ack();
    assert_eq!(partition.to_store(), Some(20));
    received.remove(0).ack();
    assert_eq!(partition.to_store(), Some(21));
}

/// Contract D3, O2: the window reaches from the first that is not final.
#[test]
fn the_window_is_a_span_and_not_a_count() {
    let partition = partition(3, Mode::AtLeastOnce);
    let mut received = taken(&partition, &[0, 1, 2, 3, 4]);
    assert_eq!(offsets(&received), [0, 1, 2]);
    received.remove(2).ack();
    received.remove(1).ack();
    assert!(handed(&partition, 100).is_empty(), "0 holds it open");
    received.remove(0).ack();
    assert_eq!(offsets(&handed(&partition, 100)), [3, 4]);
}

/// What is given back comes again before what is newer.
#[test]
fn released_messages_keep_their_place() {
    let partition = partition(10, Mode::AtLeastOnce);
    take_in(&partition, 0..4);
    let first = handed(&partition, 3);
    first.into_iter().rev().for_each(Received::release);
    assert_eq!(offsets(&handed(&partition, 100)), [0, 1, 2, 3]);
    assert_eq!(partition.to_store(), Some(0), "nothing is final");
}

/// Trap 4, contract D4: what is settled after the end has no effect and is counted.
#[test]
fn a_late_settle_is_counted() {
    let bell = Arc::<Bell>::default();
    let name = Name::from_static("t");
    let partition = Partition::new(name, 0, 10, Mode::AtLeastOnce, &bell);
    let mut received = taken(&partition, &[0, 1]);
    assert!(!received[0].revoked().is_cancelled());
    partition.stop();
    assert!(received[0].revoked().is_cancelled());
    received.remove(0).ack();
    assert_eq!(partition.end(), 1);
    received.remove(0).ack();
    assert_eq!(bell.late.load(Ordering::Relaxed), 1);
    assert_eq!(partition.to_store(), Some(1), "1 was never final");
}

/// Contract D9: no more is taken over than the window, and nothing is stored beside that.
#[test]
fn at_most_once_takes_over_a_window_and_stores_nothing_else() {
    let partition = partition(2, Mode::AtMostOnce);
    let received = taken(&partition, &[0, 1, 2, 3]);
    assert!(received.is_empty(), "nothing was taken over");
    assert_eq!(partition.to_take_over(), Some((2, 2)));
    partition.take_over(2);
    let received = handed(&partition, 100);
    assert_eq!(offsets(&received), [0, 1]);
    assert_eq!(partition.to_take_over(), None);
    drop(received);
    assert!(handed(&partition, 100).is_empty(), "given back is gone");
    assert_eq!(partition.to_take_over(), Some((2, 4)));
    assert_eq!(partition.to_store(), None);
    assert_eq!(partition.mark(), None);
}

/// Trap 9: paused at the window, let go at half of it.
#[test]
fn pausing_has_two_thresholds() {
    let partition = partition(4_000, Mode::AtLeastOnce);
    take_in(&partition, 0..3_999);
    assert_eq!(partition.pause(), None);
    take_in(&partition, [3_999]);
    assert_eq!(partition.pause(), Some(true));
    assert_eq!(partition.pause(), None);
    let first = handed(&partition, 1_999);
    assert_eq!(partition.pause(), None, "more than half still wait");
    let second = handed(&partition, 1);
    assert_eq!(partition.pause(), Some(false));
    drop((first, second));
}

/// Of small messages more than a window may wait, up to a megabyte.
#[test]
fn small_messages_are_polled_ahead() {
    let partition = partition(4, Mode::AtLeastOnce);
    take_in(&partition, 0..2_047);
    assert_eq!(partition.pause(), None);
    assert!(!partition.is_clogged());
    take_in(&partition, [2_047]);
    assert!(partition.is_clogged());
    assert_eq!(partition.pause(), Some(true));
    let mut taken = 0;
    while partition.pause().is_none() {
        let handed = handed(&partition, 100);
        assert_eq!(handed.len(), 4, "the window holds");
        taken += handed.len();
        handed.into_iter().for_each(Received::ack);
    }
    assert_eq!(taken, 1_024);
    assert_eq!(partition.mark(), Some(1_024));
}
