//! The example `orders`, run inside a test: its books balance, and its output says why.
#![allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "tests; the example is this test's subject"
)]

#[path = "../examples/orders/main.rs"]
#[allow(dead_code, reason = "the example's own `main` is not called")]
mod orders;

use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex};

use orders::options::{Options, Stop};

/// Runs the example with these arguments; gives back whether its books balance, and its lines.
async fn run(args: &[&str]) -> (bool, Vec<String>) {
    let options = parse(args).unwrap();
    let out = Out::default();
    let balance = orders::run(&options, out.clone()).await.unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    (balance.holds(), text.lines().map(str::to_owned).collect())
}

fn parse(args: &[&str]) -> Result<Options, Stop> {
    Options::parse(args.iter().map(OsString::from))
}

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_trouble_is_in_the_first_twenty_orders() {
    let (holds, lines) = run(&[]).await;
    assert!(holds);
    assert_eq!(
        lines.last().unwrap(),
        "balance: placed=20 paid=18 failed=1 dead=1 duplicates=1 ok"
    );
    assert!(include_str!("../README.md").contains(lines.last().unwrap()));
    let failures: Vec<_> = lines.iter().filter(|line| line.starts_with('!')).collect();
    for trouble in ["timed out", "declined", "below zero"] {
        assert!(
            failures.iter().any(|line| line.contains(trouble)),
            "{trouble}: {failures:?}"
        );
    }
    let told = lines.iter().filter(|line| line.starts_with("   ")).count();
    assert_eq!(told, 20, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_with_the_same_seed_end_the_same() {
    let (holds, first) = run(&["--orders", "1000", "--seed", "11"]).await;
    assert!(holds);
    let (_, again) = run(&["--orders", "1000", "--seed", "11"]).await;
    assert_eq!(first.last(), again.last());
    assert!(
        first.last().unwrap().starts_with("balance: placed=1000 "),
        "{first:?}"
    );
    assert!(
        first.last().unwrap().ends_with(" dead=1 duplicates=10 ok"),
        "{first:?}"
    );
    let (_, other) = run(&["--orders", "1000", "--seed", "12"]).await;
    assert_ne!(first.last(), other.last());
}

#[tokio::test(start_paused = true)]
async fn a_bad_line_is_named_and_the_rest_goes_on() {
    let (holds, lines) = run(&["--input", "examples/data/orders.jsonl"]).await;
    assert!(holds);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("! line 17: EOF while parsing")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("dead letter: order.placed:ord_poison in"))
    );
    assert!(
        lines.contains(&String::from("input: 39 orders, 1 bad")),
        "{lines:#?}"
    );
    let balance = lines.last().unwrap();
    assert!(balance.starts_with("balance: placed=38 "), "{balance}");
    assert!(balance.ends_with(" dead=1 duplicates=1 ok"), "{balance}");
}

#[tokio::test(start_paused = true)]
async fn the_audit_sees_every_event_and_changes_nothing() {
    let (_, without) = run(&[]).await;
    let (holds, with) = run(&["--audit"]).await;
    assert!(holds);
    assert_eq!(without.last(), with.last());
    let audit = "audit: order.placed=20 payment.completed=18 payment.failed=1, 19 came of another";
    assert!(with.iter().any(|line| line == audit), "{with:#?}");
}

/// Orders whose repeats differ, or repeat a poison order, still end in one place each.
#[tokio::test(start_paused = true)]
async fn repeats_that_differ_or_fail_keep_the_books_balanced() {
    let path = std::env::temp_dir().join(format!("tidings-orders-{}.jsonl", std::process::id()));
    let order =
        |id: &str, total: f64| format!(r#"{{"orderId":"{id}","userId":"u","amount":{total}}}"#);
    let text = [
        order("a", 1.0),
        order("a", 2.0),
        order("p", -1.0),
        order("p", -1.0),
        String::new(),
        String::from("\u{0}not json"),
        order(&"k".repeat(2_000), 1.0),
        order("b", 3.0),
    ];
    std::fs::write(&path, text.join("\r\n")).unwrap();
    let (holds, lines) = run(&["--input", path.to_str().unwrap()]).await;
    std::fs::remove_file(&path).unwrap();
    assert!(holds, "{lines:#?}");
    assert_eq!(
        lines.last().unwrap(),
        "balance: placed=4 paid=2 failed=0 dead=2 duplicates=0 ok"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("! line 6: ")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("! line 7: event ")),
        "{lines:#?}"
    );
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (args, says) in [
        (&["--oders", "3"][..], "\"--oders\" is not an option"),
        (&["--orders"], "--orders needs a value"),
        (
            &["--orders", "0"],
            "--orders \"0\" is not a whole number from 1 to 1000000",
        ),
        (&["--seed=x"], "--seed \"x\" is not"),
        (&["--orders", "3", "--input", "-"], "exclude each other"),
        (&["--audit=yes"], "\"--audit=yes\" is not an option"),
    ] {
        let Err(Stop::Wrong(why)) = parse(args) else {
            panic!("{args:?} was taken");
        };
        assert!(why.contains(says), "{why}");
    }
    assert_eq!(parse(&["--help"]), Err(Stop::Help));
    assert_eq!(
        parse(&["--seed=3", "--orders=2"]),
        parse(&["--orders", "2", "--seed", "3"])
    );
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let options = parse(&["--input", "no/such/file"]).unwrap();
    let error = orders::run(&options, Out::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("no/such/file cannot be read: "),
        "{error}"
    );
}
