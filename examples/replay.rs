//! A projection is rebuilt from history, twice, and comes out the same.
//!
//! `cargo run --example replay --features kafka -- kafka://localhost:9092`
#![allow(
    clippy::print_stdout,
    reason = "an example speaks on its standard output"
)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Group};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "account.opened", version = 1, topic = "replay-example-accounts", key = account)]
struct Opened {
    account: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "account.booked", version = 1, topic = "replay-example-accounts", key = account)]
struct Booked {
    account: String,
    cents: i64,
}

/// What can be rebuilt: what each account holds, and how it came to that.
#[derive(Default)]
struct Balances(Mutex<BTreeMap<String, Balance>>);

#[derive(Default, Hash)]
struct Balance {
    cents: i64,
    bookings: Vec<i64>,
}

impl Balances {
    async fn open(self: Arc<Self>, event: Opened) {
        self.change(event.account, |balance| *balance = Balance::default());
    }

    async fn book(self: Arc<Self>, event: Booked) {
        self.change(event.account, |balance| {
            balance.cents += event.cents;
            balance.bookings.push(event.cents);
        });
    }

    fn change(&self, account: String, change: impl FnOnce(&mut Balance)) {
        let mut balances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(balances.entry(account).or_default());
    }

    fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hash(&mut hasher);
        hasher.finish()
    }
}

/// Fills the topic, then rebuilds the projection twice.
pub(crate) async fn run(url: &str, mut out: impl Write) -> anyhow::Result<()> {
    let bus = Bus::connect("replay-example", url).await?;
    let balances = Arc::new(Balances::default());
    let group = bus.group("balances");
    let handlers = group.replayable().with(Arc::clone(&balances));
    handlers.on(Balances::open);
    handlers.on(Balances::book);

    for number in 0..20 {
        let account = format!("acc-{number}");
        bus.emit(Opened {
            account: account.clone(),
        })
        .await?;
        for cents in [500, -120, number] {
            let account = account.clone();
            bus.emit(Booked { account, cents }).await?;
        }
    }

    let first = rebuild(&group, &balances, &mut out).await?;
    let second = rebuild(&group, &balances, &mut out).await?;
    anyhow::ensure!(first == second, "the second rebuild came to another state");
    writeln!(out, "the same state twice")?;
    bus.shutdown().await?;
    Ok(())
}

/// The group is never started: a rebuild needs no live one, and would not move it.
async fn rebuild(group: &Group, balances: &Balances, out: &mut impl Write) -> anyhow::Result<u64> {
    balances.clear();
    let replay = group.replay(tidings::From::beginning()).await?;
    let offsets = replay.total();
    let stats = replay.finished().await?;
    let hash = balances.hash();
    writeln!(
        out,
        "{offsets} offsets, {} events handled, {} failed: state {hash:016x}",
        stats.completed, stats.dead_lettered
    )?;
    Ok(hash)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(url) = std::env::args().nth(1) else {
        anyhow::bail!("say where: a URL such as kafka://localhost:9092");
    };
    run(&url, std::io::stdout()).await
}
