//! Attaching, detaching, interest, and what becomes of the queue of a removed group.

mod support;

use support::*;
use tidings_memory::Memory;
use tidings_transport::{
    Batch, Consumer, Declare, ErrorKind, Name, Origin, Received, Signal, Topics, Topology,
    Transport,
};

#[tokio::test]
async fn attaching_reaches_the_next_publish_and_is_repeatable() {
    let memory = Memory::new();
    put(&memory, message("t", None, 0));
    memory.attach(&group("g", &["t"], 8)).expect("new");
    memory
        .attach(&group("g", &["t"], 8))
        .expect("the same again");
    put(&memory, message("t", None, 1));
    memory
        .attach(&group("g", &["u"], 8))
        .expect("one more topic");
    put(&memory, message("u", None, 2));
    put(&memory, message("t", None, 3));
    assert_eq!(drain_now(&mut open(&memory, "g").await), [1, 2, 3]);
}

#[tokio::test]
async fn interest_follows_patterns_attached_before_and_after() {
    let memory = Memory::new();
    let before = memory.interest(&"order.placed".into());
    assert!(before.is_none());
    memory.attach(&matching("audit", "order.*")).expect("new");
    let after = memory.interest(&"order.paid".into());
    assert!(!before.is_none() && !after.is_none());
    assert!(memory.interest(&"user.created".into()).is_none());
    put(&memory, message("order.placed", None, 1));
    put(&memory, message("order.shipped", None, 2));
    let mut audit = open(&memory, "audit").await;
    assert_eq!(drain_now(&mut audit), [1, 2]);
    memory.detach(&"audit".into(), &matching("audit", "order.*").topics);
    assert!(before.is_none() && after.is_none());
}

#[tokio::test]
async fn a_topic_reached_twice_is_delivered_once_and_left_when_both_ways_are_gone() {
    let memory = Memory::new();
    let mut twice = matching("g", "a.#");
    twice.topics.exact.push("a.b".into());
    memory.attach(&twice).expect("new");
    put(&memory, message("a.b", None, 1));
    memory.detach(&"g".into(), &Topics::exact(["a.b"]));
    put(&memory, message("a.b", None, 2));
    assert_eq!(drain_now(&mut open(&memory, "g").await), [1, 2]);
}

#[tokio::test]
async fn detaching_delivers_what_is_queued_and_ends_the_consumer_once_it_is_settled() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t", "u"], 8)).expect("new");
    let mut consumer = open(&memory, "g").await;
    put(&memory, message("t", None, 1));
    memory.detach(&"g".into(), &Topics::exact(["t"]));
    put(&memory, message("t", None, 2));
    put(&memory, message("u", None, 3));
    memory.detach(&"g".into(), &Topics::exact(["u"]));
    memory.detach(&"g".into(), &Topics::exact(["u"]));

    let mut held = take(&mut consumer, 8).await;
    assert_eq!(numbers(&held), [1, 3]);
    held.remove(0).release();
    let again = take(&mut consumer, 8).await;
    assert_eq!(numbers(&again), [1], "a release still comes again");
    let mut batch = Batch::default();
    let mut ending = Box::pin(consumer.receive(8, &mut batch));
    assert!(
        poll_once(&mut ending).is_pending(),
        "something is unsettled"
    );
    again.into_iter().chain(held).for_each(Received::ack);
    assert_eq!(ending.await.expect("no error"), Signal::Closed);
    assert_eq!(memory.counts().dropped, 0);
    assert_eq!(
        memory.lag(&"g".into()).await.expect_err("gone").kind(),
        ErrorKind::Missing
    );
}

#[tokio::test]
async fn what_nobody_is_left_to_take_is_counted() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    let mut consumer = open(&memory, "g").await;
    (0..3).for_each(|number| drop(put(&memory, message("t", None, number))));
    let held = take(&mut consumer, 1).await;
    drop(consumer);
    assert_eq!(
        memory.counts().dropped,
        0,
        "the queue outlives its consumer"
    );
    memory.detach(&"g".into(), &Topics::exact(["t"]));
    assert_eq!(memory.counts().dropped, 2);
    drop(held);
    assert_eq!(memory.counts().dropped, 3, "given back to a removed group");
}

#[tokio::test(start_paused = true)]
async fn removing_the_group_that_is_full_lets_its_publishers_go_on() {
    let memory = Memory::new();
    memory.attach(&group("full", &["t"], 1)).expect("new");
    memory.attach(&group("well", &["t"], 8)).expect("new");
    put(&memory, message("t", None, 0));
    let mut line: Vec<_> = [1, 2]
        .map(|number| Box::pin(memory.publish(message("t", None, number), Origin::default())))
        .into();
    line.iter_mut()
        .for_each(|publish| assert!(poll_once(publish).is_pending()));
    memory.detach(&"full".into(), &Topics::exact(["t"]));
    for publish in line {
        let receipt = publish.await.expect("the well group has room");
        assert_eq!(receipt.groups.names(), Some(&["well".into()][..]));
    }
    assert_eq!(drain_now(&mut open(&memory, "well").await), [0, 1, 2]);
}

#[tokio::test]
async fn a_group_attached_again_after_its_removal_is_a_new_one() {
    let memory = Memory::new();
    memory.attach(&group("g", &["t"], 8)).expect("new");
    put(&memory, message("t", None, 1));
    memory.detach(&"g".into(), &Topics::exact(["t"]));
    let mut unordered = group("g", &["t"], 9);
    unordered.ordered = false;
    memory
        .attach(&unordered)
        .expect("new again, with other settings");
    put(&memory, message("t", None, 2));
    let mut wanted = subscribe("g");
    wanted.ordered = false;
    let mut consumer = memory.subscribe(wanted).await.expect("attached");
    assert_eq!(drain_now(&mut consumer), [2]);
}

#[tokio::test]
async fn contradictions_name_both_values() {
    let memory = Memory::new();
    let mut first = group("g", &["t"], 8);
    first.dead_letters = Some("g.dead".into());
    memory.attach(&first).expect("new");
    let mut other = first.clone();
    other.queue = Some(9);
    let error = memory.attach(&other).expect_err("another length");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("8 messages, not 9"), "{error}");
    let mut other = first.clone();
    other.ordered = false;
    assert!(
        memory
            .attach(&other)
            .expect_err("unordered")
            .to_string()
            .contains("unordered")
    );
    let mut other = first.clone();
    other.dead_letters = Some("x.dead".into());
    assert!(
        memory
            .attach(&other)
            .expect_err("elsewhere")
            .to_string()
            .contains("x.dead")
    );

    let mut wanted = subscribe("g");
    wanted.ordered = false;
    let error = memory.subscribe(wanted).await.expect_err("unordered");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = memory
        .subscribe(subscribe("h"))
        .await
        .expect_err("never attached");
    assert_eq!(error.kind(), ErrorKind::Missing);
    let mut wanted = subscribe("g");
    wanted.window = 0;
    assert_eq!(
        memory.subscribe(wanted).await.expect_err("0").kind(),
        ErrorKind::Config
    );
}

#[tokio::test]
async fn declare_makes_verifies_or_assumes() {
    let memory = Memory::new();
    let mut topology = Topology {
        topics: vec!["t".into()],
        groups: vec![group("g", &["t"], 8)],
        declare: Declare::Assume,
    };
    topology.groups[0].dead_letters = Some("g.dead".into());
    memory.declare(&topology).await.expect("nothing asked");
    topology.declare = Declare::Verify;
    let error = memory.declare(&topology).await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::Missing);
    topology.declare = Declare::Create;
    memory.declare(&topology).await.expect("made");
    memory.declare(&topology).await.expect("and made again");
    memory
        .browse(&"g.dead".into())
        .await
        .expect("declared with its group");
    topology.declare = Declare::Verify;
    memory.declare(&topology).await.expect("there by now");
    topology.groups[0].topics.exact.push("u".into());
    assert_eq!(
        memory.declare(&topology).await.expect_err("u").kind(),
        ErrorKind::Missing
    );
    for declare in [Declare::Verify, Declare::Create] {
        topology.declare = declare;
        topology.groups[0].queue = Some(9);
        let error = memory.declare(&topology).await.expect_err("another length");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn illegal_names_are_refused_everywhere() {
    let memory = Memory::new();
    let long = "n".repeat(256);
    for name in ["", "a\nb", &long] {
        let error = memory.attach(&group(name, &["t"], 8)).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(memory.attach(&group("g", &[name], 8)).is_err());
        let topics = vec![Name::from(name)];
        let topology = Topology {
            topics,
            ..Topology::default()
        };
        assert_eq!(
            memory.declare(&topology).await.expect_err(name).kind(),
            ErrorKind::Config
        );
        let error = refusal(&memory, message(name, None, 0), &Origin::default());
        assert!(
            matches!(error.reason(), tidings_transport::Reason::Invalid(_)),
            "{error:?}"
        );
        assert!(
            !memory.interest(&name.into()).is_none(),
            "so that the publish is tried"
        );
    }
    let error = memory.attach(&group("g", &["t"], 0)).expect_err("no queue");
    assert!(error.to_string().contains("\"g\" is 0"), "{error}");
}
