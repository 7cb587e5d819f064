//! Order per key over the members of one group.

mod support;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{Received, Transport};

fn keyed(topic: &str, key: &str, numbers: std::ops::Range<u64>, memory: &Memory) {
    numbers.for_each(|number| drop(put(memory, message(topic, Some(key), number))));
}

#[tokio::test]
async fn a_key_stays_with_its_member_until_its_messages_are_settled() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 64)).expect("new");
    let (mut first, mut second) = (open(&memory, "g").await, open(&memory, "g").await);
    keyed("t", "a", 0..3, &memory);
    keyed("t", "b", 10..12, &memory);
    let mut held = take_now(&mut first, 2);
    assert_eq!(numbers(&held), [0, 1]);
    let other = take_now(&mut second, 9);
    assert_eq!(numbers(&other), [10, 11], "key a is taken, key b is not");
    held.remove(0).ack();
    assert_eq!(
        numbers(&take_now(&mut second, 9)),
        [],
        "one message of key a is still held"
    );
    held.remove(0).ack();
    assert_eq!(drain_now(&mut second), [2]);
    other.into_iter().for_each(Received::ack);
}

#[tokio::test]
async fn the_member_that_holds_a_key_gets_more_of_it() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 64)).expect("new");
    let (mut first, mut second) = (open(&memory, "g").await, open(&memory, "g").await);
    keyed("t", "a", 0..1, &memory);
    let held = take_now(&mut first, 1);
    keyed("t", "a", 1..3, &memory);
    assert_eq!(numbers(&take_now(&mut second, 9)), []);
    let more = take_now(&mut first, 9);
    assert_eq!(numbers(&more), [1, 2]);
    drop((held, more));
    let batch = take_now(&mut second, 9);
    assert_eq!(
        numbers(&batch),
        [0, 1, 2],
        "given back in order, to anybody"
    );
    assert!(
        batch
            .iter()
            .all(|received| received.origination.attempt == 2)
    );
}

#[tokio::test]
async fn a_waiting_member_is_woken_when_a_key_becomes_free() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 64)).expect("new");
    let (mut first, mut second) = (open(&memory, "g").await, open(&memory, "g").await);
    keyed("t", "a", 0..2, &memory);
    let held = take_now(&mut first, 1);
    let waiting = tokio::spawn(async move { numbers(&take(&mut second, 9).await) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    held.into_iter().for_each(Received::ack);
    assert_eq!(waiting.await.expect("no panic"), [1]);
}

#[tokio::test]
async fn a_second_member_waits_for_keys_that_were_handed_out_before_it_came() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 64)).expect("new");
    let mut first = open(&memory, "g").await;
    keyed("t", "a", 0..2, &memory);
    let held = take_now(&mut first, 1);
    let mut second = open(&memory, "g").await;
    put(&memory, message("t", None, 7));
    assert_eq!(drain_now(&mut second), [7], "no key, no order");
    drop(first);
    assert_eq!(drain_now(&mut second), [], "nobody knows which key is held");
    let waiting = tokio::spawn(async move { numbers(&take(&mut second, 9).await) });
    tokio::task::yield_now().await;
    held.into_iter().for_each(Received::ack);
    assert_eq!(waiting.await.expect("no panic"), [1]);
}

#[tokio::test]
async fn keys_of_different_topics_are_different_lanes() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t", "u"], 64)).expect("new");
    let (mut first, mut second) = (open(&memory, "g").await, open(&memory, "g").await);
    keyed("t", "a", 0..1, &memory);
    keyed("u", "a", 1..2, &memory);
    let held = take_now(&mut first, 1);
    assert_eq!((numbers(&held), drain_now(&mut second)), (vec![0], vec![1]));
}

#[tokio::test]
async fn an_empty_key_is_a_key() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 64)).expect("new");
    let (mut first, mut second) = (open(&memory, "g").await, open(&memory, "g").await);
    keyed("t", "", 0..2, &memory);
    let held = take_now(&mut first, 1);
    assert_eq!(held[0].key.as_deref(), Some(&b""[..]));
    assert_eq!(drain_now(&mut second), []);
}

#[tokio::test]
async fn members_of_an_unordered_group_share_one_key() {
    let memory = Memory::new();
    let mut unordered = group("g", &["t"], 64);
    unordered.ordered = false;
    memory.attach(&unordered).expect("new");
    let mut wanted = subscribe("g");
    wanted.ordered = false;
    let mut first = memory.subscribe(wanted.clone()).await.expect("attached");
    let mut second = memory.subscribe(wanted).await.expect("attached");
    keyed("t", "a", 0..2, &memory);
    let held = take_now(&mut first, 1);
    assert_eq!((numbers(&held), drain_now(&mut second)), (vec![0], vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_of_a_key_starts_only_after_the_previous_is_final() {
    const KEYS: usize = 8;
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 4_096)).expect("new");
    let next: std::sync::Arc<[std::sync::Mutex<u64>; KEYS]> = std::sync::Arc::default();
    let mut members = tokio::task::JoinSet::new();
    let left = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    for member in 0..6 {
        let mut consumer = open(&memory, "g").await;
        let (next, left) = (next.clone(), left.clone());
        members.spawn(async move {
            loop {
                for received in take(&mut consumer, 1 + member).await {
                    let number = number(&received.payload);
                    let key = usize::try_from(number).expect("small") % KEYS;
                    // A key has one owner at a time, so this is never contended.
                    let mut expected = next[key].try_lock().expect("one handler per key");
                    if received.origination.attempt == 1 && number.is_multiple_of(5) {
                        // Its later ones in this batch must be given back as well.
                        drop(expected);
                        drop(received);
                        break;
                    }
                    assert_eq!(number / KEYS as u64, *expected);
                    *expected += 1;
                    drop(expected);
                    received.ack();
                    left.add_permits(1);
                }
            }
        });
    }
    for number in 0..2_000 {
        let key = (number % KEYS as u64).to_string();
        memory
            .publish(message("t", Some(&key), number), Default::default())
            .await
            .expect("room in time");
    }
    let _all = left.acquire_many(2_000).await.expect("open");
    assert_eq!(lag(&memory, "g").await, (2_000, 2_000));
    members.shutdown().await;
}
