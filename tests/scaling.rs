//! One group on a topic of three partitions, as one to four processes: even shares, and nothing
//! lost or out of order while members come and go.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::{Bus, Event};
use tidings_conformance::{Broker, Trials};
use tokio::sync::watch;

/// Set for a child: the group it joins.
const GROUP: &str = "TIDINGS_TEST_SCALING_GROUP";
const KAFKA: &str = "TIDINGS_TEST_KAFKA";
const PARTITIONS: usize = 3;
/// Lines of the members that may tell how they share: far more than one round of all keys.
const RECENT: usize = 512;
/// How long a group may take to agree, on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "scaling.ticked", version = 1, key = key)]
struct Ticked {
    run: String,
    key: String,
    number: u64,
}

fn main() -> ExitCode {
    if let Ok(group) = std::env::var(GROUP) {
        return member(&group);
    }
    Trials::new(Broker::named_by(KAFKA))
        .trial("members_share_evenly_and_lose_nothing", scale)
        .main()
}

fn kafka(url: &str) -> Kafka {
    Kafka::new(url.trim_start_matches("kafka://")).partitions(3)
}

/// One process of the group: a line for each event that it handles, until it is told to end.
#[tokio::main]
async fn member(group: &str) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter("tidings_kafka=info")
        .with_ansi(false)
        .init();
    let url = std::env::var(KAFKA).unwrap();
    let bus = Bus::builder("scaling")
        .transport(kafka(&url))
        .build()
        .await
        .unwrap();
    let run = group.to_owned();
    bus.group(group).exact().on(move |tick: Ticked| {
        let mine = tick.run == run;
        async move {
            if mine {
                let micros = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
                let mut parent = std::io::stdout().lock();
                writeln!(parent, "> {micros} {} {}", tick.key, tick.number).unwrap();
            }
        }
    });
    bus.run().await.unwrap();
    ExitCode::SUCCESS
}

/// An event that was handled: by whom, when, which.
#[derive(Clone, Debug)]
struct Handled {
    member: usize,
    micros: u64,
    key: String,
    number: u64,
}

#[derive(Default)]
struct Log {
    handled: Vec<Handled>,
    idle: Vec<usize>,
    /// What else the members said: shown when something does not come.
    said: VecDeque<String>,
}

impl Log {
    fn say(&mut self, member: usize, line: String) {
        if self.said.len() >= 40 {
            self.said.pop_front();
        }
        self.said.push_back(format!("member {member}: {line}"));
    }
}

struct Members {
    group: String,
    log: watch::Sender<Log>,
    running: Vec<(usize, Child)>,
    next: usize,
}

impl Members {
    fn join(&mut self) {
        let number = self.next;
        self.next += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(GROUP, &self.group)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if line.contains("no partition") {
                    log.send_modify(|log| log.idle.push(number));
                } else if let Some(rest) = line.strip_prefix("> ") {
                    let mut words = rest.split(' ');
                    let handled = Handled {
                        member: number,
                        micros: words.next().unwrap().parse().unwrap(),
                        key: words.next().unwrap().to_owned(),
                        number: words.next().unwrap().parse().unwrap(),
                    };
                    log.send_modify(|log| log.handled.push(handled));
                } else {
                    log.send_modify(|log| log.say(number, line));
                }
            }
        });
        self.running.push((number, child));
    }

    /// Ends a member in good order, as an orchestrator does.
    fn leave(&mut self, at: usize) {
        let (number, mut child) = self.running.remove(at);
        let id = child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.success(), "member {number}: {status}");
    }

    /// Waits until each of the latest events of a partition was handled by one member, and the
    /// members have so many partitions each.
    async fn share(&self, partitions: &BTreeMap<String, i32>, expected: &[usize]) {
        let what = format!("shares of {expected:?}");
        self.until(&what, |log| self.shares(log, partitions) == expected)
            .await;
    }

    /// Waits until what the members said is enough.
    async fn until(&self, what: &str, enough: impl FnMut(&Log) -> bool) {
        let mut log = self.log.subscribe();
        let enough = log.wait_for(enough);
        if tokio::time::timeout(PATIENCE, enough).await.is_err() {
            let log = self.log.borrow();
            let said = log.said.iter().map(|line| format!("\n  {line}"));
            panic!(
                "no {what} within {PATIENCE:?}; {} events handled, idle {:?}, running {:?}; last said:{}",
                log.handled.len(),
                log.idle,
                self.running.iter().map(|it| it.0).collect::<Vec<_>>(),
                said.collect::<String>()
            );
        }
    }

    fn shares(&self, log: &Log, partitions: &BTreeMap<String, i32>) -> Vec<usize> {
        // This is asked again at every line of a member: what it costs must not grow with the log, or
        // the members wait for who reads them.
        let recent = log.handled.len().saturating_sub(RECENT);
        let mut latest = log.handled[recent..].to_vec();
        // Some were emitted to learn where their key goes, and no more.
        latest.retain(|it| partitions.contains_key(&it.key));
        latest.sort_by_key(|it| it.micros);
        let latest = &latest[latest.len().saturating_sub(partitions.len() * 4)..];
        let owners: BTreeSet<(i32, usize)> = latest
            .iter()
            .map(|it| (partitions[&it.key], it.member))
            .collect();
        if owners.len() != PARTITIONS {
            return Vec::new();
        }
        let share = |member| owners.iter().filter(|(_, owner)| *owner == member).count();
        let mut shares: Vec<usize> = self
            .running
            .iter()
            .map(|(member, _)| share(*member))
            .collect();
        shares.sort_unstable_by(|a, b| b.cmp(a));
        shares
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn scale(url: String) {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let group = format!("scaling-{}-{}", since.as_micros(), std::process::id());
    let bus = Bus::builder("scaling")
        .transport(kafka(&url))
        .build()
        .await
        .unwrap();
    let tick = |key: &str, number| Ticked {
        run: group.clone(),
        key: key.to_owned(),
        number,
    };
    // Four keys of each partition.
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for candidate in 0.. {
        let key = format!("k{candidate}");
        let receipt = bus.emit(tick(&key, 0)).await.unwrap();
        let partition = receipt.position().unwrap().partition;
        if partitions.values().filter(|it| **it == partition).count() < 4 {
            partitions.insert(key, partition);
        }
        if partitions.len() == 4 * PARTITIONS {
            break;
        }
    }
    let (stop, mut stopped) = watch::channel(false);
    let emitter = {
        let (bus, run) = (bus.clone(), group.clone());
        let keys: Vec<String> = partitions.keys().cloned().collect();
        tokio::spawn(async move {
            let mut number = 0;
            while !*stopped.borrow_and_update() {
                number += 1;
                for key in &keys {
                    let tick = Ticked {
                        run: run.clone(),
                        key: key.clone(),
                        number,
                    };
                    bus.emit(tick).await.unwrap();
                }
                let pause = tokio::time::sleep(Duration::from_millis(10));
                tokio::select! { () = pause => {}, _ = stopped.changed() => {} }
            }
            number
        })
    };

    let mut members = Members {
        group,
        log: watch::Sender::default(),
        running: Vec::new(),
        next: 1,
    };
    for expected in [&[3][..], &[2, 1], &[1, 1, 1], &[1, 1, 1, 0]] {
        members.join();
        members.share(&partitions, expected).await;
    }
    // The fourth says that it has nothing to do, once it is sure.
    members
        .until("idle member", |log| !log.idle.is_empty())
        .await;
    for expected in [&[1, 1, 1][..], &[2, 1], &[3]] {
        members.leave(0);
        members.share(&partitions, expected).await;
    }
    stop.send(true).unwrap();
    let last = emitter.await.unwrap();
    members.share(&partitions, &[3]).await;
    members
        .until("last events", |log| {
            let done = |key: &String| {
                let mut handled = log.handled.iter();
                handled.any(|it| it.key == *key && it.number == last)
            };
            partitions.keys().all(done)
        })
        .await;
    members.leave(0);
    bus.shutdown().await.unwrap();

    let log = members.log.borrow();
    let mut handled = log.handled.clone();
    handled.sort_by_key(|it| it.micros);
    let mut repeats = 0;
    for key in partitions.keys() {
        let mut next = 0;
        for it in handled.iter().filter(|it| it.key == *key) {
            assert!(it.number <= next, "{key}: {} came before {next}", it.number);
            if it.number == next {
                next += 1;
            } else {
                repeats += 1;
            }
        }
        assert_eq!(next, last + 1, "{key}: events were lost");
    }
    let total = handled.len();
    assert_eq!(
        log.idle,
        [4],
        "the fourth member says once that it has nothing to do"
    );
    let _ = writeln!(
        std::io::stdout(),
        "{total} events handled, {repeats} of them again"
    );
}
