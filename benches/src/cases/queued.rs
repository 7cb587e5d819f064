//! Events from a publisher task through a queue to an async handler, on one thread (goals G5, G6,
//! G12).

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tidings::{Bus, BusBuilder, Event};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use super::inline::Nothing;
use super::{name, runtime};
use crate::driver::Case;

/// Ordered by what it is about.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Event)]
#[event(name = "order.shipped", version = 1, key = order)]
struct OrderShipped {
    order: u64,
}

/// As an application has it: two of its fields are texts.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.paid", version = 1)]
struct OrderPaid {
    order_id: String,
    user_id: String,
    total_cents: u64,
}

impl OrderPaid {
    fn number(number: u64) -> Self {
        Self {
            order_id: String::from("ord-1001"),
            user_id: String::from("usr-4711"),
            total_cents: number,
        }
    }
}

/// How many are still to be handled. The cases run one after the other and share it, so that no
/// handler needs state.
static LEFT: AtomicU64 = AtomicU64::new(0);
static DONE: Notify = Notify::const_new();

pub(super) fn cases() -> Result<Vec<Case>> {
    let plain = |bus: &Bus| drop(bus.on(async |order: Arc<OrderPaid>| handled(order.total_cents)));
    let unused = |bus: &Bus| {
        plain(bus);
        drop(bus.on_any(|_| {}).off_on_drop());
        drop(bus.listen(|_: &OrderPaid| {}).off_on_drop());
    };
    let two = |bus: &Bus| {
        drop(
            bus.named("first")
                .on(async |order: Arc<OrderPaid>| handled(order.total_cents)),
        );
        drop(
            bus.named("second")
                .on(async |order: Arc<OrderPaid>| handled(order.total_cents)),
        );
    };
    let keyed = |bus: &Bus| drop(bus.on(async |order: Arc<OrderShipped>| handled(order.order)));
    let shipped = |order| OrderShipped {
        order: order % 1_000,
    };
    let usual = || Bus::builder("bench");
    Ok(vec![
        raw(name::MPSC, 1)?,
        raw(name::MPSC_MANY, 64)?.against(name::MPSC),
        queued(name::QUEUED, usual(), plain, OrderPaid::number, 1)?.against(name::MPSC),
        queued(name::QUEUED_UNUSED, usual(), unused, OrderPaid::number, 1)?.against(name::QUEUED),
        queued(
            name::QUEUED_LAYER,
            usual().around_handlers(Nothing),
            plain,
            OrderPaid::number,
            1,
        )?
        .against(name::QUEUED),
        queued(name::QUEUED_KEYED, usual(), keyed, shipped, 1)?.against(name::QUEUED),
        queued(name::QUEUED_TWO, usual(), two, OrderPaid::number, 2)?.against(name::QUEUED),
    ])
}

/// What every handler does.
#[inline(always)]
fn handled(value: u64) {
    black_box(value);
    let left = LEFT.load(Ordering::Relaxed);
    LEFT.store(left - 1, Ordering::Relaxed);
    if left == 1 {
        DONE.notify_one();
    }
}

fn queued<E: Event>(
    name: &str,
    builder: BusBuilder,
    register: impl Fn(&Bus),
    make: impl Fn(u64) -> E + Copy + Send + 'static,
    handlers: u64,
) -> Result<Case> {
    let runtime = runtime()?;
    let bus = runtime.block_on(builder.build())?;
    register(&bus);
    Ok(Case::new(name, move |count| {
        let bus = bus.clone();
        timed(&runtime, count * handlers, async move {
            for number in 0..count {
                let _ = black_box(bus.emit(make(number)).await.is_ok());
            }
        })
    }))
}

/// The limit: the same events through tokio's bounded channel, `many` taken at once.
fn raw(name: &str, many: usize) -> Result<Case> {
    let runtime = runtime()?;
    let (sender, mut receiver) = mpsc::channel::<Arc<OrderPaid>>(1_024);
    runtime.spawn(async move {
        if many == 1 {
            while let Some(order) = receiver.recv().await {
                handled(order.total_cents);
            }
            return;
        }
        let mut batch = Vec::with_capacity(many);
        while receiver.recv_many(&mut batch, many).await > 0 {
            batch.drain(..).for_each(|order| handled(order.total_cents));
        }
    });
    Ok(Case::new(name, move |count| {
        let sender = sender.clone();
        timed(&runtime, count, async move {
            for number in 0..count {
                let _ = black_box(
                    sender
                        .send(Arc::new(OrderPaid::number(number)))
                        .await
                        .is_ok(),
                );
            }
        })
    }))
}

/// Runs a publisher as a task, until everything is handled.
fn timed(
    runtime: &Runtime,
    handled: u64,
    publisher: impl Future<Output = ()> + Send + 'static,
) -> Duration {
    LEFT.store(handled, Ordering::Relaxed);
    let begun = Instant::now();
    runtime.block_on(async {
        runtime.spawn(publisher);
        DONE.notified().await;
    });
    begun.elapsed()
}
