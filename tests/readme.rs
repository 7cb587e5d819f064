//! The README says what is true: its code compiles and its program is the example that runs, its
//! files exist, its figures are the manifest's.
#![allow(
    dead_code,
    reason = "the README's code is here to be compiled; not all of it is called"
)]

use serde::{Deserialize, Serialize};
use tidings::{Bus, Event, Failure, RetryPolicy, permanent};

const README: &str = include_str!("../README.md");
const QUICKSTART: &str = include_str!("../examples/quickstart.rs");

#[test]
fn the_program_of_the_readme_is_the_example() {
    let (_head, program) = QUICKSTART
        .split_once("\n\n")
        .expect("a head, then the program");
    assert!(
        program.starts_with("use "),
        "the program begins with its imports:\n{program}"
    );
    let block = format!("```rust\n{program}```\n");
    assert!(
        README.contains(&block),
        "copy examples/quickstart.rs into the README:\n{block}"
    );
}

#[test]
fn every_block_of_code_is_compiled_somewhere() {
    let compiled = [QUICKSTART, include_str!("readme.rs")].map(bare);
    let blocks: Vec<&str> = README
        .split("```rust\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 6, "blocks of code in the README");
    for block in blocks {
        assert!(
            compiled.iter().any(|source| source.contains(&bare(block))),
            "no example and no test compiles this:\n{block}"
        );
    }
}

/// Formatting aside: a block is indented otherwise where it is compiled.
fn bare(code: &str) -> String {
    code.split_whitespace().collect()
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|link| link.split('#').next().unwrap_or(link))
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect();
    assert!(links.len() >= 5, "links found: {links:?}");
    let missing: Vec<_> = links
        .iter()
        .filter(|link| !root.join(link).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "the README links to what is not there: {missing:?}"
    );
}

#[test]
fn versions_and_features_are_those_of_the_manifest() {
    let manifest = include_str!("../Cargo.toml");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        README.contains(&format!("Rust {rust}")),
        "the README names another Rust than {rust}"
    );
    let features = manifest
        .split("\n[features]\n")
        .nth(1)
        .expect("a feature table");
    let features = features.split("\n[").next().unwrap_or(features);
    for feature in features.lines().filter_map(|line| line.split_once(" = ")) {
        let row = format!("| `{}` |", feature.0);
        assert!(
            feature.0 == "default" || README.contains(&row),
            "the README's feature table lacks `{}`",
            feature.0
        );
    }
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "order.placed", version = 1, key = order_id)]
struct OrderPlaced {
    order_id: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "stock.moved", version = 1, key = (warehouse, product_id))]
struct StockMoved {
    warehouse: String,
    product_id: String,
    pieces: i64,
}

async fn charge(order: OrderPlaced) -> Result<(), Failure> {
    if order.order_id.is_empty() {
        return Err(permanent("there is nothing to charge")); // dead-lettered at once
    }
    ask_the_gateway(&order).await?; // any other error: tried again
    Ok(())
}

async fn ask_the_gateway(_order: &OrderPlaced) -> std::io::Result<()> {
    Ok(())
}

#[tokio::test]
async fn a_permanent_error_is_dead_lettered_at_once() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::builder("order-service").build().await?;
    let payments = bus
        .group("payments")
        .concurrency(64)
        .retry(RetryPolicy::exponential().attempts(8));
    payments.on(charge);
    bus.emit(OrderPlaced {
        order_id: String::new(),
    })
    .await?;
    bus.settled().await?;

    for letter in bus.dead_letters("payments").list().await? {
        println!("{:?}: {}, {}", letter.id(), letter.reason(), letter.error());
    }

    let letters = bus.dead_letters("payments").list().await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason(), letters[0].attempts()),
        ("permanent", 1)
    );
    bus.shutdown().await?;
    Ok(())
}

#[cfg(feature = "testing")]
mod kit {
    use tidings::Delivery;
    use tidings::testing::TestBus;

    use super::OrderPlaced;

    #[tokio::test]
    async fn a_busy_gateway_is_asked_again() {
        let bus = TestBus::new("order-service").await;
        bus.on(async |order: Delivery<OrderPlaced>| match order.attempt() {
            1 | 2 => Err("the gateway is busy"),
            _ => Ok(()),
        });
        let order_id = "ord-1".to_owned();
        bus.emit(OrderPlaced { order_id }).await.unwrap();
        bus.settled().await;
        assert_eq!(bus.handled::<OrderPlaced>()[0].attempts, 3);
    }
}
