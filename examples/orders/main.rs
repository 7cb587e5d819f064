//! The classic story: an order is placed, stock is reserved, the card is charged, mails go out.
//!
//! ```text
//! order.placed ──► inventory-service     reserves stock
//!              ├─► payment-service       charges the card ──► payment.completed / payment.failed
//!              └─► notification-service  confirms, and mails what became of the payment
//! ```
//!
//! On the way the payment gateway times out now and then (retried), some orders arrive twice
//! (handled once), some cards are declined (an event, not an error) and one order is poison
//! (dead-lettered, and nobody else notices). In the end every order is accounted for.
//!
//! Read on in this order: `events`, then a consumer (`inventory` is the shortest, `payment` the
//! richest), then `audit`: what it takes to add one more. Run it with `--help` for its options,
//! and with `RUST_LOG=info` to see what the bus itself says.

mod audit;
mod events;
mod gateway;
mod input;
mod inventory;
mod notification;
pub(crate) mod options;
mod payment;
mod report;
mod shop;

use std::error::Error;
use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use tidings::{Bus, Clock, SystemClock};
use tokio::select;

use input::Orders;
use options::Options;
use report::{Balance, Report};

#[tokio::main]
async fn main() -> ExitCode {
    log_if_asked();
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(stop) => return stop.say(),
    };
    match run(&options, std::io::stdout()).await {
        Ok(balance) if balance.holds() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "orders: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn run(
    options: &Options,
    out: impl Write + Send + 'static,
) -> Result<Balance, Box<dyn Error + Send + Sync>> {
    let orders = Orders::open(options).await?;
    // The clock that dead letters are dated by.
    let begun = SystemClock.now();
    let report = Arc::new(Report::new(out));
    // The one line that moves all of it to a broker.
    let bus = match &options.transport {
        Some(url) => Bus::connect("order-service", url).await?,
        None => Bus::from_env("order-service").await?,
    };

    if options.is(inventory::GROUP) {
        inventory::join(&bus, &report);
    }
    if options.is(payment::GROUP) {
        payment::join(&bus, &report, options.seed);
    }
    if options.is(notification::GROUP) {
        notification::join(&bus, &report);
    }
    if options.audit || options.only.as_deref() == Some(audit::GROUP) {
        audit::join(&bus, &report);
    }
    match options.only.as_deref() {
        None => {
            bus.start().await?;
            place(&bus, orders, &report).await?;
            bus.settled().await?;
            let balance = Balance::strike(&bus, &report, begun).await?;
            bus.shutdown().await?;
            report.close(&balance);
            return Ok(balance);
        }
        // Until it is interrupted.
        Some(options::PRODUCER) => {
            let mut running = pin!(bus.run());
            let placed = select! {
                ended = &mut running => ended.map(|_| false)?,
                placed = place(&bus, orders, &report) => placed.map(|()| true)?,
            };
            if placed {
                report.all_placed();
                running.await?;
            }
        }
        Some(_) => drop(bus.run().await?),
    }
    report.close_one();
    // The others know the rest of the books.
    Ok(Balance::default())
}

async fn place(
    bus: &Bus,
    mut orders: Orders,
    report: &Report,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    while let Some(order) = orders.next().await? {
        // A full queue makes this wait: the producer is never faster than its consumers.
        let placed = match order {
            Ok(order) => bus
                .emit(order)
                .await
                .map_err(|error| format!("{error}: {}", error.reason())),
            Err(bad) => Err(bad),
        };
        match placed {
            Ok(_) => report.took_line(),
            Err(why) => report.bad_line(&format!("{}: {why}", orders.place())),
        }
    }
    Ok(())
}

/// The bus logs through `tracing`; without `RUST_LOG` this example keeps that to itself.
fn log_if_asked() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::OFF.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
