//! The lines of the page that need a process of their own: `run`, which waits for signals, and
//! `from_env`. Each test starts itself again as a child.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use tidings::{Bus, Delivery, RunError};

use crate::kit::{Log, OrderPlaced, order};

/// What the child does; set only for a child.
const ROLE: &str = "TIDINGS_TEST_ROLE";

fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// This very test, in a process of its own.
fn child(test: &str, url: Option<&str>) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, "child")
        .env_remove("TIDINGS_URL");
    command.envs(url.map(|url| ("TIDINGS_URL", url)));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// A line for the parent.
fn say(text: &str) {
    let mut parent = std::io::stdout().lock();
    writeln!(parent, "\n> {text}").unwrap();
}

/// The child's next line; its end is one too.
fn hear(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("> ").map(str::to_owned))
        .unwrap_or_else(|| String::from("the child ended"))
}

#[cfg(target_os = "linux")]
mod signals {
    use super::*;

    /// Waits until this process catches SIGTERM, which the kernel says (bit 14), then tells.
    async fn say_when_ready() {
        let catches = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))
                .unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
        };
        while !catches() {
            tokio::task::yield_now().await;
        }
        say("ready");
    }

    fn send(signal: &str, child: &Child) {
        let id = child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    #[tokio::test]
    async fn run_starts_waits_for_sigterm_drains_and_reports() {
        if is_child() {
            let bus = Bus::builder("order-service").build().await.unwrap();
            bus.on(async |order: Delivery<OrderPlaced>| order.cancelled().await);
            bus.emit(order("ord-1")).await.unwrap();
            tokio::spawn(say_when_ready());
            let report = bus.run().await.unwrap();
            say(&report.to_string());
            return;
        }
        let name = "process::signals::run_starts_waits_for_sigterm_drains_and_reports";
        let (mut child, mut lines) = child(name, None);
        assert_eq!(hear(&mut lines), "ready");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it runs until the signal"
        );
        send("-TERM", &child);
        assert_eq!(
            hear(&mut lines),
            "finished 1, handed back 0, abandoned 0, unflushed 0"
        );
        assert!(child.wait().unwrap().success());
    }

    #[tokio::test]
    async fn a_second_signal_aborts_the_drain() {
        if is_child() {
            let bus = Bus::builder("order-service").build().await.unwrap();
            bus.on(async |order: Delivery<OrderPlaced>| {
                order.cancelled().await;
                say("draining");
                std::future::pending::<()>().await;
            });
            bus.emit(order("ord-1")).await.unwrap();
            tokio::spawn(say_when_ready());
            let error = bus.run().await.unwrap_err();
            assert!(matches!(error, RunError::Aborted), "{error:?}");
            say("aborted");
            return;
        }
        let (mut child, mut lines) =
            child("process::signals::a_second_signal_aborts_the_drain", None);
        assert_eq!(hear(&mut lines), "ready");
        send("-TERM", &child);
        assert_eq!(hear(&mut lines), "draining");
        send("-TERM", &child);
        assert_eq!(hear(&mut lines), "aborted");
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn run_returns_what_start_refuses() {
    let bus = Bus::builder("order-service").build().await.unwrap();
    bus.named("twice").on(async |_: OrderPlaced| {});
    bus.named("twice").on(async |_: OrderPlaced| {});
    let error = bus.run().await.unwrap_err();
    assert!(matches!(&error, RunError::Start(_)), "{error:?}");
    assert!(error.to_string().contains("twice"), "{error}");
}

#[tokio::test]
async fn from_env_builds_what_the_url_says() {
    if is_child() {
        match Bus::from_env("order-service").await {
            Ok(bus) => {
                let log = Log::default();
                bus.with(log.clone())
                    .on(async |log: Log, order: OrderPlaced| log.add(order.order_id));
                // As many as the queue holds: on this runtime nothing is taken in between.
                let fits = (0..5_000)
                    .take_while(|_| bus.try_emit(order("1")).is_ok())
                    .count();
                bus.settled().await.unwrap();
                assert_eq!(log.take().len(), fits);
                say(&format!("{fits} fit"));
            }
            Err(error) => say(&error.problems().join("; ")),
        }
        return;
    }
    let name = "process::from_env_builds_what_the_url_says";
    for (url, said) in [
        (None, "1024 fit"),
        (Some("memory://?queue=7"), "7 fit"),
        (Some("memory://?queu=7"), "did you mean `queue`?"),
        (
            Some("amqp://localhost:5672"),
            "this build has no transport for amqp://",
        ),
    ] {
        let (mut child, mut lines) = child(name, url);
        let heard = hear(&mut lines);
        assert!(heard.contains(said), "{url:?}: {heard}");
        assert!(child.wait().unwrap().success());
    }
}
