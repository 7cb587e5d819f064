//! Emits that only listeners hear (goals G1, G2, G5).

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tidings::{Bus, Middleware, async_trait};
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;

use super::{OrderPlaced, bus, name, runtime};
use crate::driver::Case;

pub(super) fn cases() -> Result<Vec<Case>> {
    let runtime = Arc::new(runtime()?);
    let mut cases = Vec::new();
    for listeners in [1, 3, 10] {
        let limit = name::raw(listeners);
        cases.push(raw(&limit, listeners));
        cases
            .push(handle(name::handle(listeners), &listened(&runtime, listeners)?).against(&limit));
        cases.push(
            try_emit(name::try_emit(listeners), listened(&runtime, listeners)?).against(&limit),
        );
        let awaited = listened(&runtime, listeners)?;
        cases.push(emit(name::emit(listeners), awaited, &runtime).against(limit));
    }
    cases.push(tracing_off());
    let tapped = listened(&runtime, 1)?;
    let tap = tapped.on_any(|tap| {
        black_box(tap.name());
    });
    runtime.block_on(tap.off())?;
    cases.push(handle(name::UNUSED_TAP.into(), &tapped).against(name::handle(1)));
    let layered = runtime.block_on(Bus::builder("bench").around_handlers(Nothing).build())?;
    listen(&layered);
    cases.push(handle(name::UNUSED_LAYER.into(), &layered).against(name::handle(1)));
    Ok(cases)
}

fn listened(runtime: &Runtime, listeners: usize) -> Result<Bus> {
    let bus = bus(runtime)?;
    (0..listeners).for_each(|_| listen(&bus));
    Ok(bus)
}

fn listen(bus: &Bus) {
    bus.listen(|order: &OrderPlaced| add_up(order));
}

/// What every listener does: it adds to a counter.
#[inline(always)]
fn add_up(order: &OrderPlaced) {
    TOTAL.store(
        TOTAL.load(Ordering::Relaxed) + order.total_cents,
        Ordering::Relaxed,
    );
}

static TOTAL: AtomicU64 = AtomicU64::new(0);

fn raw(name: &str, listeners: usize) -> Case {
    let all = raw_listeners(listeners);
    timed(name.into(), move |number| {
        let order = OrderPlaced::number(number);
        for listener in &*all {
            listener(&order);
        }
    })
}

type Raw = Box<dyn Fn(&OrderPlaced)>;

fn raw_listeners(count: usize) -> Vec<Raw> {
    let listener = || -> Box<dyn Fn(&OrderPlaced)> { Box::new(add_up) };
    black_box((0..count).map(|_| listener()).collect())
}

fn tracing_off() -> Case {
    let all = raw_listeners(1);
    let case = timed(name::TRACING_OFF.into(), move |number| {
        let order = OrderPlaced::number(number);
        if LevelFilter::current() >= tracing::Level::INFO {
            black_box(&order);
        }
        for listener in &*all {
            listener(&order);
        }
    });
    case.against(name::raw(1))
}

fn handle(name: String, bus: &Bus) -> Case {
    let orders = bus.publisher::<OrderPlaced>();
    // The bus must outlive its handle's case, listeners and all.
    let bus = bus.clone();
    timed(name, move |number| {
        let _ = &bus;
        let _ = black_box(orders.try_emit(OrderPlaced::number(number)).is_ok());
    })
}

fn try_emit(name: String, bus: Bus) -> Case {
    timed(name, move |number| {
        let _ = black_box(bus.try_emit(OrderPlaced::number(number)).is_ok());
    })
}

fn emit(name: String, bus: Bus, runtime: &Arc<Runtime>) -> Case {
    let runtime = Arc::clone(runtime);
    Case::new(name, move |count| {
        runtime.block_on(async {
            let begun = Instant::now();
            for number in 0..count {
                let _ = black_box(bus.emit(OrderPlaced::number(number)).await.is_ok());
            }
            begun.elapsed()
        })
    })
}

fn timed(name: String, each: impl Fn(u64) + 'static) -> Case {
    Case::new(name, move |count| -> Duration {
        let begun = Instant::now();
        for number in 0..count {
            each(black_box(number));
        }
        begun.elapsed()
    })
}

/// A middleware that does nothing.
pub(super) struct Nothing;

#[async_trait]
impl Middleware for Nothing {}
