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
use std::process::ExitCode;
use std::sync::Arc;

use tidings::Bus;

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
    let mut orders = Orders::open(options).await?;
    let report = Arc::new(Report::new(out));
    let bus = Bus::builder("order-service").build().await?;

    inventory::join(&bus, &report);
    payment::join(&bus, &report, options.seed);
    notification::join(&bus, &report);
    if options.audit {
        audit::join(&bus, &report);
    }
    bus.start().await?;

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
    bus.settled().await?;

    let balance = Balance::strike(&bus, &report).await?;
    bus.shutdown().await?;
    report.close(&balance);
    Ok(balance)
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
