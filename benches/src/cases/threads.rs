//! Two publishers on two processors (goal G4).

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{OrderPlaced, bus, name, runtime};
use crate::driver::Case;

pub(super) fn cases() -> Result<Vec<Case>> {
    let runtime = runtime()?;
    let bus = bus(&runtime)?;
    bus.listen(|order: &OrderPlaced| {
        black_box(order.total_cents);
    });
    let case = Case::new(name::TWO_THREADS, move |count| {
        let _ = &runtime;
        let start = Arc::new(Barrier::new(2));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let orders = bus.publisher::<OrderPlaced>();
                let start = Arc::clone(&start);
                std::thread::spawn(move || {
                    start.wait();
                    let begun = Instant::now();
                    for number in 0..count {
                        let _ = black_box(
                            orders
                                .try_emit(OrderPlaced::number(black_box(number)))
                                .is_ok(),
                        );
                    }
                    begun.elapsed()
                })
            })
            .collect();
        // The mean: what one publisher pays for the other.
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum::<Duration>()
            / 2
    });
    Ok(vec![case.against(name::handle(1))])
}
