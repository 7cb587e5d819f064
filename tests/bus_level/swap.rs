//! The same program over every transport: same final states, same order per key, same dead
//! letters. Its handlers do not know where they run.

use std::collections::BTreeMap;

use crate::kit::{Log, World};

/// One program, without a word about transports.
mod program {
    use tidings::{Bus, Delivery, permanent};

    use crate::kit::{Log, Step, step};

    pub(super) type Seen = Log<(String, u32, u32)>;

    async fn walk(seen: Seen, event: Delivery<Step>) -> Result<(), tidings::Failure> {
        seen.push((event.key.clone(), event.number, event.attempt()));
        match event.number % 17 {
            3 => Err(permanent("poison")),
            5 if event.attempt() < 3 => Err("again".into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(bus: &Bus) -> Seen {
        let seen = Seen::default();
        bus.group("walkers").with(seen.clone()).on(walk);
        for number in 0..200 {
            let event = step(format!("key-{}", number % 7), number);
            bus.emit(event.clone())
                .id(format!("evt-{number}"))
                .await
                .unwrap();
            if number % 25 == 0 {
                bus.emit(event).id(format!("evt-{number}")).await.unwrap();
            }
        }
        bus.settled().await.unwrap();
        seen
    }
}

#[tokio::test(start_paused = true)]
async fn same_program_every_transport() {
    let mut histories = Vec::new();
    for (url, world) in World::all() {
        let bus = world.bus().await;
        let seen: Log<_> = program::run(&bus).await;
        let mut per_key: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
        for (key, number, attempt) in seen.all() {
            per_key.entry(key).or_default().push((number, attempt));
        }
        let mut dead: Vec<_> = bus
            .dead_letters("walkers")
            .list()
            .await
            .unwrap()
            .iter()
            .map(|letter| {
                (
                    letter.id().unwrap().to_string(),
                    letter.reason().to_owned(),
                    letter.bytes(),
                )
            })
            .collect();
        dead.sort();
        let stats = bus.group("walkers").stats().unwrap();
        histories.push((url, per_key, dead, stats.completed, stats.duplicates));
    }
    let (_, per_key, dead, completed, duplicates) = &histories[0];
    assert_eq!((*completed as usize + dead.len(), *duplicates), (200, 8));
    assert_eq!(dead.len(), 12);
    for (key, steps) in per_key {
        assert!(steps.is_sorted(), "{key}: {steps:?}");
    }
    for other in &histories[1..] {
        let (url, other_per_key, other_dead, other_completed, other_duplicates) = other;
        assert_eq!(per_key, other_per_key, "{url}");
        assert_eq!(dead, other_dead, "{url}");
        assert_eq!(
            (completed, duplicates),
            (other_completed, other_duplicates),
            "{url}"
        );
    }
}
