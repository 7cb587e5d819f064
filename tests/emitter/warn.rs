//! The warning about registrations that nobody ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use tidings::Bus;

use crate::capture::Capture;
use crate::kit::{Echo, Ping, Pong, bus};

const GROWING: &str = "keeps growing";

#[tokio::test]
async fn a_growing_number_of_handlers_for_one_type_is_warned_about_with_the_registration_site() {
    let (capture, _guard) = Capture::start();
    let bus = bus().await;
    let mut site = 0;
    let mut warned_at = Vec::new();
    for handlers in 1..=45 {
        // Over all groups of the bus.
        let group = bus
            .group(format!("g{}", handlers % 3))
            .named(format!("h{handlers}"));
        site = line!() + 1;
        group.on(async |_: Ping| {});
        if capture.lines(GROWING).len() > warned_at.len() {
            warned_at.push(handlers);
        }
    }
    assert_eq!(
        warned_at,
        [11, 21, 41],
        "beyond the limit of 10, and at each doubling"
    );
    for (line, handlers) in capture.lines(GROWING).iter().zip(warned_at) {
        assert_eq!(line.level, tracing::Level::WARN);
        assert_eq!(line.field("event"), "emitter.ping");
        assert_eq!(line.field("handlers"), handlers.to_string());
        assert!(
            line.field("site")
                .contains(&format!("tests/emitter/warn.rs:{site}:")),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn a_growing_number_of_listeners_for_one_type_is_warned_about_with_the_registration_site() {
    let (capture, _guard) = Capture::start();
    let bus = bus().await;
    let mut site = 0;
    let mut warned_at = Vec::new();
    for listeners in 1..=45 {
        site = line!() + 1;
        bus.listen(|_: &Ping| {});
        if capture.lines(GROWING).len() > warned_at.len() {
            warned_at.push(listeners);
        }
    }
    assert_eq!(warned_at, [11, 21, 41]);
    for (line, listeners) in capture.lines(GROWING).iter().zip(warned_at) {
        assert_eq!(line.field("event"), "emitter.ping");
        assert_eq!(line.field("listeners"), listeners.to_string());
        assert!(
            line.field("site")
                .contains(&format!("tests/emitter/warn.rs:{site}:")),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn handlers_of_different_types_are_no_growing_number() {
    let (capture, _guard) = Capture::start();
    let bus = Bus::builder("svc").warn_handlers(1).build().await.unwrap();
    bus.on(async |_: Ping| {});
    bus.on(async |_: Pong| {});
    bus.on(async |_: Echo| {});
    bus.listen(|_: &Ping| {});
    bus.listen(|_: &Pong| {});
    assert!(capture.lines(GROWING).is_empty());
}

#[tokio::test]
async fn what_is_taken_back_does_not_count() {
    let (capture, _guard) = Capture::start();
    let bus = bus().await;
    for _ in 0..30 {
        bus.on(async |_: Ping| {}).off().await.unwrap();
        bus.listen(|_: &Ping| {}).off().await.unwrap();
    }
    assert!(capture.lines(GROWING).is_empty());
}
