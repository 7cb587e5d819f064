//! Listeners see this process's emits on every transport, once the publish is Ok.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::pin::pin;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tidings::memory::Memory;
use tidings::transport::DynTransport;
use tidings::{Bus, RetryPolicy};

use crate::kit::{Answer, Broker, Log, Ping, Pong, bus, waits};

async fn on(transport: impl DynTransport) -> Bus {
    Bus::builder("svc")
        .transport(transport)
        .retry(RetryPolicy::none())
        .build()
        .await
        .unwrap()
}

async fn every_transport() -> [(&'static str, Bus); 3] {
    [
        ("memory", on(Memory::new()).await),
        ("encoded memory", on(Memory::new().encoded(true)).await),
        ("a broker", on(Broker::prompt()).await),
    ]
}

#[tokio::test]
async fn listen_on_any_stream_wait_for_once_and_many_see_this_processs_emits_on_every_transport() {
    for (transport, bus) in every_transport().await {
        for with_handler in [false, true] {
            let log = Log::default();
            if with_handler {
                bus.on(async |_: Ping| {});
                bus.start().await.unwrap();
            }
            let [listens, taps, once, many] = [log.clone(), log.clone(), log.clone(), log.clone()];
            let guards = [
                bus.listen(move |ping: &Ping| listens.add(format!("listen {}", ping.0))),
                bus.on_any(move |tap| {
                    let ping = tap.downcast_ref::<Ping>().unwrap();
                    taps.add(format!("{} v{} {}", tap.name(), tap.version(), ping.0));
                }),
                bus.once(move |ping: &Ping| once.add(format!("once {}", ping.0))),
                bus.many(2, move |ping: &Ping| many.add(format!("many {}", ping.0))),
            ];
            let stream = bus.stream::<Ping>();
            let wait_for = bus.wait_for(|ping: &Ping| ping.0 == 2);
            for number in 1..=3 {
                bus.emit(Ping(number)).await.unwrap();
            }
            let case = format!("{transport}, with handler: {with_handler}");
            assert_eq!(
                log.take(),
                [
                    "listen 1",
                    "emitter.ping v1 1",
                    "once 1",
                    "many 1",
                    "listen 2",
                    "emitter.ping v1 2",
                    "many 2",
                    "listen 3",
                    "emitter.ping v1 3",
                ],
                "{case}"
            );
            let streamed: Vec<u32> = stream.take(3).map(|ping| ping.unwrap().0).collect().await;
            assert_eq!(streamed, [1, 2, 3], "{case}");
            assert_eq!(wait_for.now_or_never().unwrap().unwrap().0, 2, "{case}");
            for guard in guards {
                guard.off().await.unwrap();
            }
        }
        bus.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn listeners_run_once_the_publish_is_ok() {
    let broker = Broker::silent();
    let bus = on(broker.clone()).await;
    let log = Log::default();
    let heard = log.clone();
    bus.listen(move |ping: &Ping| heard.add(format!("heard {}", ping.0)));
    let mut emit = pin!(async { bus.emit(Ping(1)).await });
    assert!(waits(emit.as_mut()).await);
    assert_eq!(log.take(), [""; 0], "not before the broker's confirmation");
    broker.answer(Answer::Ok, 1);
    emit.await.unwrap();
    assert_eq!(log.take(), ["heard 1"]);
}

#[tokio::test]
async fn listeners_do_not_run_when_the_publish_fails() {
    let broker = Broker::silent();
    let bus = on(broker.clone()).await;
    let log = Log::default();
    let heard = log.clone();
    bus.listen(move |ping: &Ping| heard.add(format!("heard {}", ping.0)));
    for (answer, unknown) in [(Answer::Refused, false), (Answer::Lost, true)] {
        broker.answer(answer, 1);
        let error = bus.emit(Ping(1)).await.unwrap_err();
        assert_eq!(error.is_unknown(), unknown);
        assert_eq!(log.take(), [""; 0]);
        broker.answer(Answer::Ok, 1);
        bus.emit_again(error).await.unwrap();
        assert_eq!(
            log.take(),
            ["heard 1"],
            "the same event, once it is published"
        );
    }
    // Dropped before its answer: Unknown, so nobody hears it.
    let mut emit = Box::pin(async { bus.emit(Ping(2)).await });
    assert!(waits(emit.as_mut()).await);
    drop(emit);
    broker.answer(Answer::Ok, 1);
    bus.emit(Ping(3)).await.unwrap();
    assert_eq!(log.take(), ["heard 3"]);
}

#[tokio::test]
async fn listeners_do_not_run_when_the_queue_is_full() {
    let bus = on(Memory::new().queue(1)).await;
    let log = Log::default();
    // Its handler never ends, and it takes no second event.
    bus.group("stuck")
        .window(1)
        .on(async |_: Ping| std::future::pending::<()>().await);
    let heard = log.clone();
    bus.listen(move |ping: &Ping| heard.add(ping.0.to_string()));
    bus.emit(Ping(1)).await.unwrap();
    // The second takes the place of the first, once that has been taken.
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), ["1", "2"]);
    let error = bus.try_emit(Ping(3)).unwrap_err();
    assert!(error.is_full() && error.is_not_published());
    let mut emit = pin!(async { bus.emit(Ping(4)).await });
    assert!(waits(emit.as_mut()).await);
    assert_eq!(log.take(), [""; 0]);
}

/// However long the publish waits.
#[tokio::test]
async fn the_listener_set_is_that_of_the_emit_though_the_publish_waits() {
    let broker = Broker::silent();
    let bus = on(broker.clone()).await;
    let log = Log::default();
    let [stays, goes, comes] = [log.clone(), log.clone(), log.clone()];
    bus.listen(move |_: &Ping| stays.add("stays"));
    let goes = bus.listen(move |_: &Ping| goes.add("removed meanwhile"));
    let mut emit = pin!(async { bus.emit(Ping(1)).await });
    assert!(waits(emit.as_mut()).await);
    goes.off().await.unwrap();
    bus.listen(move |_: &Ping| comes.add("added meanwhile"));
    broker.answer(Answer::Ok, 2);
    emit.await.unwrap();
    assert_eq!(log.take(), ["stays"]);
    bus.emit(Ping(2)).await.unwrap();
    assert_eq!(log.take(), ["stays", "added meanwhile"]);
}

#[tokio::test(start_paused = true)]
async fn listeners_never_settle_or_retry() {
    for (transport, bus) in every_transport().await {
        let log = Log::default();
        let [fails, panics] = [log.clone(), log.clone()];
        bus.listen(move |_: &Ping| {
            fails.add("fails");
            Err(std::io::Error::other("no"))
        });
        bus.listen(move |_: &Ping| {
            panics.add("panics");
            panic!("no");
        });
        let group = bus.group("g").retry(RetryPolicy::exponential().attempts(3));
        group.with(log.clone()).on(async |log: Log, _: Ping| {
            log.add("handler");
            Err(std::io::Error::other("no"))
        });
        bus.start().await.unwrap();
        bus.emit(Ping(1)).await.unwrap();
        bus.settled().await.unwrap();
        // The handler's attempts are its own; the listeners heard the emit, once.
        assert_eq!(
            log.take(),
            ["fails", "panics", "handler", "handler", "handler"],
            "{transport}"
        );
        assert_eq!(group.stats().unwrap().dead_lettered, 1, "{transport}");
        assert_eq!(
            bus.dead_letters("g").list().await.unwrap().len(),
            1,
            "{transport}"
        );
    }
}

#[tokio::test]
async fn an_event_with_listeners_alone_needs_no_group() {
    let bus = bus().await;
    let seen = Arc::new(Log::default());
    let heard = Arc::clone(&seen);
    bus.listen(move |pong: &Pong| heard.add(pong.0.to_string()));
    let receipt = bus.emit(Pong(1)).await.unwrap();
    assert!(receipt.groups().is_empty());
    assert_eq!(seen.take(), ["1"]);
    assert!(!receipt.id().to_string().is_empty());
}
