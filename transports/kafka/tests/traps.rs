//! What librdkafka does to those who do not know it, on a real broker. Publish paths and injected
//! errors are in `mock.rs`; groups are here, because the mock cluster takes 3 s to form one, and its
//! offsets are not a broker's (trap 18).
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;
#[path = "kit/raw.rs"]
mod raw;
#[path = "kit/said.rs"]
mod said;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidings_conformance::{Broker, Trials};
use tidings_kafka::{GroupProtocol, Kafka, KafkaConsumer};
use tidings_transport::{
    Batch, Consumer, Declare, ErrorKind, GroupTopology, Mode, Name, Origin, Payload, Received,
    Signal, Start, Subscribe, Topics, Topology, Transport,
};

use kit::message;
use said::{hear, said};

fn main() -> ExitCode {
    said::keep();
    Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"))
        .trial("the_committed_offset_is_the_next_one", next_offset)
        .trial("a_settle_after_a_revoke_is_counted_and_no_more", late)
        .trial("an_assignment_that_is_lost_is_not_committed", lost)
        .trial("members_keep_what_they_need_not_give_up", cooperative)
        .trial("members_that_assign_in_another_way_are_an_error", mixed)
        .trial(
            "a_group_moves_to_the_broker_s_assignment_member_by_member",
            moves,
        )
        .trial("a_handler_that_takes_its_time_costs_no_membership", slow)
        .trial(
            "a_partition_that_comes_back_is_not_paused_any_more",
            comes_back_paused,
        )
        .trial("the_lag_of_what_is_held_is_said", lag)
        .main()
}

/// A topic and a group of a trial's own.
struct Scene {
    url: String,
    topic: String,
    group: String,
}

impl Scene {
    async fn new(url: String, what: &str, partitions: u32) -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let unique = format!("{what}-{}-{}", since.as_micros(), std::process::id());
        let scene = Self {
            url,
            topic: unique.clone(),
            group: format!("{unique}-readers"),
        };
        let topics = Topics::exact([scene.topic.clone()]);
        let topology = Topology {
            topics: vec![Name::from(&*scene.topic)],
            groups: vec![GroupTopology {
                name: Name::from(&*scene.group),
                topics,
                ordered: true,
                start: Start::Earliest,
                dead_letters: None,
                queue: None,
            }],
            declare: Declare::Create,
        };
        let kafka = scene.kafka().partitions(partitions);
        kafka.declare(&topology).await.unwrap();
        scene
    }

    fn servers(&self) -> &str {
        self.url.trim_start_matches("kafka://")
    }

    fn kafka(&self) -> Kafka {
        Kafka::new(self.servers())
    }

    /// With an own group's settings: nothing is committed but by a revoke or a close.
    fn patient(&self, revoke_deadline: Duration) -> Kafka {
        let mut config = self.kafka().config().clone();
        config.commit_interval = Duration::from_secs(3_600);
        config.commit_every = 1_000_000;
        config.revoke_deadline = revoke_deadline;
        Kafka::with_config(self.servers(), config)
    }

    async fn join(&self, kafka: &Kafka, window: usize) -> KafkaConsumer {
        let subscribe = Subscribe {
            group: Name::from(&*self.group),
            topics: Topics::exact([self.topic.clone()]),
            start: Start::Earliest,
            mode: Mode::AtLeastOnce,
            window,
            ordered: true,
        };
        kafka.subscribe(subscribe).await.unwrap()
    }

    /// One after the other, without a key; or of keys that are spread over the partitions.
    async fn publish(&self, count: usize) {
        let kafka = self.kafka();
        for number in 0..count {
            let key = number.to_string();
            let message = message(&self.topic, Some(&key));
            kafka.publish(message, Origin::default()).await.unwrap();
        }
    }

    fn raw(&self, strategy: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.servers())
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", strategy)
            .create()
            .unwrap()
    }

    /// What the group has committed in a partition.
    fn committed(&self, partition: i32) -> Offset {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, partition);
        let time = Duration::from_secs(30);
        let committed = self.raw("range").committed_offsets(asked, time).unwrap();
        committed.elements()[0].offset()
    }
}

/// Receives so many, and settles none of them.
async fn hold(member: &mut KafkaConsumer, count: usize) -> Vec<Received> {
    let (mut batch, mut held) = (Batch::default(), Vec::new());
    while held.len() < count {
        member.receive(count, &mut batch).await.unwrap();
        held.extend(batch.drain());
    }
    held
}

async fn revoked(member: &mut KafkaConsumer) -> tidings_transport::Revoked {
    let mut batch = Batch::default();
    loop {
        if let Signal::Revoked(revoked) = member.receive(1, &mut batch).await.unwrap() {
            return revoked;
        }
    }
}

fn place(received: &Received) -> (i32, i64) {
    let position = received.origination.position.unwrap();
    (position.partition, position.offset)
}

/// Trap 2: of librdkafka's calls some add one and some do not.
async fn next_offset(url: String) {
    let scene = Scene::new(url, "next", 1).await;
    scene.publish(5).await;
    let kafka = scene.kafka();
    let mut member = scene.join(&kafka, 64).await;
    let held = hold(&mut member, 5).await;
    held.into_iter().for_each(Received::ack);
    member.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(scene.committed(0), Offset::Offset(5));
}

/// Trap 4, contract D4: what is settled after its partition went to another member has no effect, and
/// is counted; the other member gets it.
async fn late(url: String) {
    let scene = Scene::new(url, "late", 2).await;
    scene.publish(20).await;
    let first = scene.patient(Duration::from_millis(200));
    let mut member = scene.join(&first, 64).await;
    let held = hold(&mut member, 20).await;

    let second = scene.kafka();
    let mut other = scene.join(&second, 64).await;
    let gone = revoked(&mut member).await;
    let number = gone.partition.unwrap();
    let (late, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|it| place(it).0 == number);
    assert_eq!(gone.unsettled, late.len());
    assert!(!late.is_empty() && !kept.is_empty(), "keys go to both");
    let expected: BTreeSet<_> = late.iter().map(place).collect();
    assert!(late.iter().all(|it| it.revoked().is_cancelled()));
    let count = late.len();
    late.into_iter().for_each(Received::ack);
    // The last of them says how many.
    hear(&[&scene.topic, "no effect", &format!("late={count};")]).await;

    let again = hold(&mut other, count).await;
    let seen: BTreeSet<_> = again.iter().map(place).collect();
    assert_eq!(seen, expected, "every one of them, from the first");
    let committed = scene.committed(number);
    assert!(
        matches!(committed, Offset::Invalid | Offset::Offset(0)),
        "{committed:?}"
    );

    let kept_number = place(&kept[0]).0;
    let next = i64::try_from(kept.len()).unwrap();
    kept.into_iter().for_each(Received::ack);
    again.into_iter().for_each(Received::ack);
    for member in [member, other] {
        member.close(Duration::from_secs(10)).await.unwrap();
    }
    assert_eq!(scene.committed(kept_number), Offset::Offset(next));
    let next = i64::try_from(count).unwrap();
    assert_eq!(scene.committed(number), Offset::Offset(next));
}

/// Trap 9: librdkafka keeps a partition paused that was paused as it was taken away.
async fn comes_back_paused(url: String) {
    let scene = Scene::new(url, "paused", 2).await;
    let kafka = scene.patient(Duration::from_millis(200));
    let count = 60;
    for number in 0..count {
        let mut large = message(&scene.topic, Some(&number.to_string()));
        // More than what may wait, in both partitions.
        large.payload = Payload::Bytes(vec![b'x'; 100_000].into());
        kafka.publish(large, Origin::default()).await.unwrap();
    }
    let mut member = scene.join(&kafka, 1).await;
    let held = hold(&mut member, 1).await;
    for partition in ["partition=0;", "partition=1;"] {
        hear(&[&scene.topic, "paused: as much waits as may", partition]).await;
    }

    let second = scene.kafka();
    let mut other = scene.join(&second, 64).await;
    drop(hold(&mut other, 1).await);
    other.close(Duration::from_secs(10)).await.unwrap();

    drop(held);
    let mut seen = BTreeSet::new();
    let mut batch = Batch::default();
    while seen.len() < count {
        member.receive(1, &mut batch).await.unwrap();
        for received in batch.drain() {
            seen.insert(place(&received));
            received.ack();
        }
    }
    member.close(Duration::from_secs(10)).await.unwrap();
}

/// Trap 5: a member that its group has given up is neither waited for nor does it commit, and all it
/// had comes again.
async fn lost(url: String) {
    let scene = Scene::new(url, "lost", 1).await;
    scene.publish(10).await;
    // Longer than the trial may take: were what is out waited for, it would not end.
    let kafka = scene.patient(Duration::from_secs(600));
    let mut member = scene.join(&kafka, 64).await;
    let mut held = hold(&mut member, 10).await;
    let open = held.split_off(9);
    held.into_iter().for_each(Received::ack);

    let groups = scene.raw("range");
    let groups = groups.fetch_group_list(Some(&scene.group), Duration::from_secs(30));
    let groups = groups.unwrap();
    let members = groups.groups()[0].members();
    assert_eq!(members.len(), 1);
    raw::expel(scene.servers(), &scene.group, members[0].id());

    let gone = revoked(&mut member).await;
    assert_eq!(gone.unsettled, 1);
    assert!(open[0].revoked().is_cancelled());
    assert_eq!(scene.committed(0), Offset::Invalid, "nine were final");
    let tried = said(&[&scene.group, "commit failed"]);
    assert!(tried.is_empty(), "the broker had refused it: {tried:?}");

    let again = hold(&mut member, 10).await;
    let seen: Vec<_> = again.iter().map(place).collect();
    assert_eq!(seen, (0..10).map(|offset| (0, offset)).collect::<Vec<_>>());
    again.into_iter().for_each(Received::ack);
    open.into_iter().for_each(Received::ack);
    member.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(scene.committed(0), Offset::Offset(10));
}

/// Trap 6: assignment is cooperative. Who keeps a partition is not asked to let it go meanwhile.
async fn cooperative(url: String) {
    let scene = Scene::new(url, "cooperative", 3).await;
    scene.publish(30).await;
    let kafka = scene.patient(Duration::from_millis(200));
    let mut member = scene.join(&kafka, 64).await;
    let held = hold(&mut member, 30).await;
    let groups = scene.raw("range");
    let groups = groups.fetch_group_list(Some(&scene.group), Duration::from_secs(30));
    assert_eq!(groups.unwrap().groups()[0].protocol(), "cooperative-sticky");

    let second = scene.kafka();
    let mut other = scene.join(&second, 64).await;
    let gone = revoked(&mut member).await.partition.unwrap();
    // The group is settled once the other has what was given up.
    let taken = hold(&mut other, 1).await;
    assert_eq!(place(&taken[0]).0, gone);
    for it in &held {
        assert_eq!(it.revoked().is_cancelled(), place(it).0 == gone);
    }
}

/// Trap 6: members that assign in another way are told apart at once, not left to starve.
async fn mixed(url: String) {
    let scene = Scene::new(url, "mixed", 1).await;
    let eager = scene.raw("range");
    eager.subscribe(&[&scene.topic]).unwrap();
    while eager.assignment().unwrap().count() == 0 {
        let polled = eager.poll(Duration::from_millis(50));
        assert!(!matches!(polled, Some(Ok(_))), "nothing was published");
    }
    let stays = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let polls = scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let _ = eager.poll(Duration::from_millis(50));
            }
        });
        let error = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let kafka = scene.kafka();
                let mut member = scene.join(&kafka, 64).await;
                let mut batch = Batch::default();
                loop {
                    match member.receive(1, &mut batch).await {
                        Ok(signal) => assert!(batch.is_empty(), "{signal:?}"),
                        Err(error) => break error,
                    }
                }
            })
        });
        drop(stop);
        polls.join().unwrap();
        error
    });
    assert_eq!(stays.kind(), ErrorKind::Config, "{stays}");
    let text = stays.to_string();
    assert!(
        text.contains(&scene.group) && text.contains("cooperative-sticky"),
        "{text}"
    );
}

/// Trap 6: to KIP-848 members change one by one, where the broker lets them, as it does by default.
async fn moves(url: String) {
    let scene = Scene::new(url, "moves", 2).await;
    scene.publish(20).await;
    let classic = scene.patient(Duration::from_millis(200));
    let mut old = scene.join(&classic, 64).await;
    let held = hold(&mut old, 20).await;
    let broker_assigned = scene.kafka().group_protocol(GroupProtocol::Consumer);
    let mut new = scene.join(&broker_assigned, 64).await;
    let gone = revoked(&mut old).await.partition.unwrap();
    let taken = hold(&mut new, 1).await;
    assert_eq!(place(&taken[0]).0, gone);
    // The last of the old ones leaves, and the new one has all.
    held.into_iter().for_each(drop);
    old.close(Duration::from_secs(10)).await.unwrap();
    let rest = hold(&mut new, 20 - taken.len()).await;
    let partitions: BTreeSet<i32> = rest.iter().map(|it| place(it).0).collect();
    assert_eq!(partitions.len(), 2);
}

/// Trap 8: polling goes on whatever handlers do, so that the time between two polls is never over.
async fn slow(url: String) {
    let scene = Scene::new(url, "slow", 1).await;
    scene.publish(2).await;
    let kafka = scene
        .kafka()
        .session_timeout(Duration::from_secs(1))
        .property("max.poll.interval.ms", "1000");
    let mut member = scene.join(&kafka, 1).await;
    let held = hold(&mut member, 1).await;
    let mut batch = Batch::default();
    let heard = tokio::time::timeout(Duration::from_secs(3), member.receive(1, &mut batch)).await;
    assert!(heard.is_err(), "three intervals without a word: {heard:?}");
    assert!(!held[0].revoked().is_cancelled());
    held.into_iter().for_each(Received::ack);
    let next = hold(&mut member, 1).await;
    assert_eq!(place(&next[0]), (0, 1));
}

/// Trap 14: the statistics say how far the group is behind in what this member holds.
async fn lag(url: String) {
    let scene = Scene::new(url, "lag", 1).await;
    scene.publish(7).await;
    let kafka = scene.kafka();
    let mut member = scene.join(&kafka, 64).await;
    let mut held = hold(&mut member, 7).await;
    let of = |figures| {
        let (topic, group) = (
            format!("topic={};", scene.topic),
            format!("group={};", scene.group),
        );
        async move { hear(&["DEBUG", &topic, &group, "partition=0;", figures]).await }
    };
    of("gauge.tidings.lag=7;").await;
    held.drain(..3).for_each(Received::ack);
    of("gauge.tidings.lag=4;").await;
    held.into_iter().for_each(Received::ack);
    of("gauge.tidings.lag=0;").await;
    let asked = kafka.lag(&Name::from(&*scene.group)).await.unwrap();
    assert_eq!(
        (asked[0].end, asked[0].behind()),
        (7, 0),
        "as the broker says"
    );
}
