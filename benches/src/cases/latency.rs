//! From the emit to the handler while the runtime has other work (goal G9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tidings::{Bus, Event};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use super::{bus, name, runtime};
use crate::driver::Case;

/// When it was emitted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Event)]
#[event(name = "clock.ticked", version = 1)]
struct Ticked {
    nanos: u64,
}

impl Ticked {
    fn now() -> Self {
        Self { nanos: now() }
    }

    fn arrived(&self) {
        TOOK.store(now() - self.nanos, Ordering::Relaxed);
        ARRIVED.notify_one();
    }
}

/// Tasks that want the thread all the time.
const BUSY: usize = 4;

static TOOK: AtomicU64 = AtomicU64::new(0);
static ARRIVED: Notify = Notify::const_new();
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn cases() -> Result<Vec<Case>> {
    let quiet = runtime()?;
    let (sender, mut receiver) = mpsc::channel::<Arc<Ticked>>(1_024);
    quiet.spawn(async move {
        while let Some(tick) = receiver.recv().await {
            tick.arrived();
        }
    });
    let raw = median_of(name::LATENCY_RAW, quiet, async move |()| {
        sender.send(Arc::new(Ticked::now())).await.is_ok()
    });
    let runtime = runtime()?;
    let bus: Bus = bus(&runtime)?;
    bus.on(async |tick: Arc<Ticked>| tick.arrived());
    let emitted = median_of(name::LATENCY, runtime, async move |()| {
        bus.emit(Ticked::now()).await.is_ok()
    });
    Ok(vec![raw, emitted.against(name::LATENCY_RAW)])
}

/// The median of a number of single events, as if each had taken that long.
fn median_of(name: &str, runtime: Runtime, send: impl AsyncFn(()) -> bool + 'static) -> Case {
    Case::new(name, move |count| {
        let mut took = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        runtime.block_on(async {
            let busy: Vec<_> = (0..BUSY)
                .map(|_| {
                    tokio::spawn(async {
                        loop {
                            tokio::task::yield_now().await;
                        }
                    })
                })
                .collect();
            for _ in 0..count {
                send(()).await;
                ARRIVED.notified().await;
                took.push(TOOK.load(Ordering::Relaxed));
            }
            busy.iter().for_each(tokio::task::JoinHandle::abort);
        });
        took.sort_unstable();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        Duration::from_nanos(median * count)
    })
}

fn now() -> u64 {
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
