//! contract: D8, R3, R4, R5

use std::time::Duration;

use bytes::Bytes;
use tidings::memory::Memory;
use tidings::transport::{Headers, field};
use tidings::{Bus, Delivery, permanent};

use crate::kit::{Log, Step, World, quick, step, until};

fn fields(name: &'static str, version: &'static str) -> Headers {
    let mut fields = Headers::new();
    fields.push(field::ID, "evt_1");
    fields.push(field::TYPE, name);
    fields.push(field::VERSION, version);
    fields
}

#[tokio::test(start_paused = true)]
async fn undecodable_bytes_go_to_the_dead_letters_without_reaching_a_handler() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let log = Log::default();
        bus.with(log.clone())
            .on(async |log: Log<Step>, event: Step| {
                log.push(event);
            });
        let bodies: [&[u8]; 4] = [b"", b"not json", b"\xff\xfe", br#"{"key":1,"number":2}"#];
        for body in bodies {
            world
                .inject("step.taken", fields("step.taken", "1"), body)
                .await;
        }
        world
            .inject(
                "step.taken",
                fields("step.taken", "7"),
                br#"{"key":"k","number":1}"#,
            )
            .await;
        world
            .inject("step.taken", fields("step.unknown", "1"), b"{}")
            .await;
        bus.emit(step("good", 1)).await.unwrap();
        bus.settled().await.unwrap();

        assert_eq!(log.all(), [step("good", 1)], "{url}");
        let dead = bus.dead_letters("svc").list().await.unwrap();
        let reasons: Vec<_> = dead.iter().map(|letter| letter.reason()).collect();
        assert_eq!(
            reasons,
            [
                "empty",
                "not_json",
                "not_utf8",
                "wrong_data",
                "future_version",
                "unknown_type"
            ],
            "{url}"
        );
        for (letter, body) in dead.iter().zip(bodies) {
            assert_eq!(
                letter.bytes(),
                Bytes::copy_from_slice(body),
                "{url}: byte for byte"
            );
            assert_eq!(letter.fields().get_str(field::ID), Some("evt_1"));
            assert_eq!(letter.attempts(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_bytes_headers_attempts_and_cause() {
    for (url, world) in World::all() {
        let bus = world.bus().await;
        bus.named("charge")
            .on(async |event: Step| -> Result<(), std::io::Error> {
                Err(std::io::Error::other(format!(
                    "no money for {}",
                    event.number
                )))
            });
        let receipt = bus.emit(step("k", 4)).header("region", "eu").await.unwrap();
        bus.settled().await.unwrap();
        let dead = bus.dead_letters("svc").list().await.unwrap();
        let [letter] = &*dead else {
            panic!("{url}: {dead:?}")
        };
        assert_eq!(letter.reason(), "exhausted");
        assert_eq!(letter.error(), "no money for 4");
        assert_eq!(letter.attempts(), 3);
        assert_eq!(letter.handler(), "charge");
        assert_eq!(letter.group(), "svc");
        assert_eq!(letter.topic(), "step.taken");
        assert_eq!(letter.key().unwrap(), "k");
        assert_eq!(letter.id().as_ref(), Some(receipt.id()));
        assert_eq!(letter.name(), Some("step.taken"));
        assert_eq!(letter.headers().get_str("region"), Some("eu"));
        let sent: Step = serde_json::from_slice(&letter.bytes()).unwrap();
        assert_eq!(sent, step("k", 4));
        assert_eq!(letter.decode::<Step>().unwrap(), step("k", 4));
        assert!(letter.first_failure().unwrap() <= letter.last_failure().unwrap());
        let metadata: usize = letter
            .headers()
            .iter()
            .filter(|(name, _)| name.starts_with("tidings-"))
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(metadata <= 4_096, "{url}: {metadata} bytes of metadata");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_written_leaves_the_event_unsettled() {
    // Room for one dead letter; the second write fails until somebody makes room.
    let world = World {
        memory: Memory::new().dead_letters(1),
    };
    let bus = world.bus().await;
    let log = Log::default();
    bus.with(log.clone())
        .on(async |log: Log<u32>, event: Delivery<Step>| {
            if event.key() == Some("poison") {
                return Err(permanent("poison"));
            }
            log.push(event.number);
            Ok(())
        });
    bus.emit(step("poison", 0)).await.unwrap();
    bus.settled().await.unwrap();
    bus.emit(step("poison", 1)).await.unwrap();
    bus.emit(step("other", 2)).await.unwrap();
    until("other keys go on", || log.all() == [2]).await;
    let settled = tokio::time::timeout(Duration::from_secs(300), bus.settled()).await;
    assert!(
        settled.is_err(),
        "the poison event is not settled while its dead letter is not kept"
    );
    assert_eq!(bus.dead_letters("svc").list().await.unwrap().len(), 1);

    let topic = tidings::transport::Name::from_static("svc.dead");
    let mut browser = tidings::transport::DynTransport::browse(&world.memory, &topic)
        .await
        .unwrap();
    let entry = browser.next().await.unwrap().unwrap();
    browser.remove(&entry).await.unwrap();
    bus.settled().await.unwrap();
    let dead = bus.dead_letters("svc").list().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].key().unwrap(), "poison");
    assert!(
        dead[0].bytes().windows(10).any(|w| w == b"\"number\":1"),
        "the second one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_may_keep_none_by_name() {
    let bus = Bus::builder("svc").retry(quick()).build().await.unwrap();
    bus.group("careless")
        .dead_letters(false)
        .on(async |_: Step| Err::<(), _>(permanent("no")));
    bus.emit(step("k", 1)).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(bus.group("careless").stats().unwrap().dead_lettered, 1);
    assert!(
        bus.dead_letters("careless").list().await.is_err(),
        "there is no such topic"
    );
}
