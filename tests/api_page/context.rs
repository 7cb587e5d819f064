//! House rule 13: what follows an emit inside a handler, and where it ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::IntoFuture;

use tidings::transport::{EventId, TraceContext};
use tidings::{AnyEvent, Bus, Context};

use crate::capture::Capture;
use crate::kit::{Log, OrderPaid, OrderPlaced, ParcelSent, bus, buses, order};

/// What an event says about where it comes from.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    id: EventId,
    correlation: EventId,
    causation: Option<EventId>,
    trace: TraceContext,
}

/// Notes every event of the bus.
fn watch(bus: &Bus) -> Log<Seen> {
    let log = Log::default();
    let seen = log.clone();
    bus.group("watch").on_pattern("#", move |event: AnyEvent| {
        seen.add(Seen {
            name: event.name().to_owned(),
            id: event.id().clone(),
            correlation: event.correlation_id().clone(),
            causation: event.causation_id().cloned(),
            trace: event.trace().unwrap(),
        });
        async {}
    });
    log
}

/// order.placed → order.paid → parcel.sent
fn two_hops(bus: &Bus) {
    bus.with(bus.clone())
        .on(async |bus: Bus, order: OrderPlaced| {
            tokio::task::yield_now().await;
            bus.emit(OrderPaid {
                order_id: order.order_id,
            })
            .await
            .map(drop)
        });
    bus.with(bus.clone()).on(async |bus: Bus, paid: OrderPaid| {
        bus.emit(ParcelSent {
            order_id: paid.order_id,
        })
        .await
        .map(drop)
    });
}

/// The events by name, in the order of the cascade.
fn in_order(mut seen: Vec<Seen>) -> [Seen; 3] {
    let place = |event: &Seen| {
        ["order.placed", "order.paid", "parcel.sent"]
            .iter()
            .position(|name| *name == event.name)
    };
    seen.sort_by_key(place);
    seen.try_into().unwrap()
}

async fn follows_over_two_hops() {
    for bus in buses().await {
        let log = watch(&bus);
        two_hops(&bus);
        let receipt = bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        let [placed, paid, sent] = in_order(log.take());
        assert_eq!(&placed.id, receipt.id());
        assert_eq!(
            (&placed.correlation, &placed.causation),
            (&placed.id, &None)
        );
        assert_eq!(
            (&paid.correlation, &paid.causation),
            (&placed.id, &Some(placed.id.clone()))
        );
        assert_eq!(
            (&sent.correlation, &sent.causation),
            (&placed.id, &Some(paid.id.clone()))
        );
        let traces = [&placed, &paid, &sent].map(|event| event.trace.trace_id());
        assert_eq!(traces, [traces[0]; 3], "one trace");
        let mut spans = [&placed, &paid, &sent].map(|event| event.trace.span_id());
        spans.sort_unstable();
        assert!(
            spans[0] < spans[1] && spans[1] < spans[2],
            "a span for each publish"
        );

        let other = bus.emit(order("ord-2")).await.unwrap();
        bus.settled().await.unwrap();
        let [again, ..] = in_order(log.take());
        assert_eq!(&again.correlation, other.id(), "another story");
        assert_ne!(again.trace.trace_id(), traces[0]);
    }
}

#[tokio::test]
async fn correlation_causation_and_trace_follow_over_two_hops() {
    follows_over_two_hops().await;
}

#[tokio::test]
async fn they_follow_the_same_way_while_spans_are_recorded() {
    let (_capture, _guard) = Capture::start();
    follows_over_two_hops().await;
}

#[tokio::test]
async fn a_correlation_of_ones_own_follows_too() {
    for bus in buses().await {
        let log = watch(&bus);
        two_hops(&bus);
        bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
        bus.settled().await.unwrap();
        let seen = in_order(log.take());
        assert!(
            seen.iter().all(|event| event.correlation == "req-7"),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn the_context_is_empty_outside_of_handlers() {
    let bus = bus().await;
    let context = bus.context();
    assert!(context.correlation_id().is_none() && context.event_id().is_none());
    assert!(context.trace().is_none());
}

#[tokio::test]
async fn the_context_inside_a_handler_names_its_event() {
    let bus = bus().await;
    let log = Log::<Context>::default();
    let state = (bus.clone(), log.clone());
    bus.with(state)
        .on(async |(bus, log): (Bus, Log<Context>), _: OrderPlaced| {
            log.add(bus.context());
            tokio::task::yield_now().await;
            log.add(bus.context());
        });
    let receipt = bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
    bus.settled().await.unwrap();
    for context in log.take() {
        assert_eq!(context.event_id(), Some(receipt.id()));
        assert_eq!(context.correlation_id().unwrap(), &"req-7");
        assert_eq!(
            context.trace().map(TraceContext::trace_id),
            receipt.id().derived_trace().map(|t| t.trace_id())
        );
    }
}

#[tokio::test]
async fn a_bare_spawn_begins_a_new_story_and_a_scoped_one_goes_on() {
    for bus in buses().await {
        let log = watch(&bus);
        bus.with(bus.clone())
            .on(async |bus: Bus, order: OrderPlaced| {
                let (bare, scoped) = (bus.clone(), bus.clone());
                let paid = OrderPaid {
                    order_id: order.order_id.clone(),
                };
                let sent = ParcelSent {
                    order_id: order.order_id,
                };
                tokio::spawn(async move { bare.emit(paid).await.unwrap() })
                    .await
                    .unwrap();
                let goes_on = bus.context().scope(async move {
                    tokio::task::yield_now().await;
                    scoped.emit(sent).await.unwrap()
                });
                tokio::spawn(goes_on).await.unwrap();
            });
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        let [placed, bare, scoped] = in_order(log.take());
        assert_eq!((&bare.correlation, &bare.causation), (&bare.id, &None));
        assert_ne!(bare.trace.trace_id(), placed.trace.trace_id());
        assert_eq!(
            (&scoped.correlation, scoped.causation),
            (&placed.id, Some(placed.id.clone()))
        );
        assert_eq!(scoped.trace.trace_id(), placed.trace.trace_id());
    }
}

/// An event that leaves a parcel behind.
#[derive(Debug, serde::Serialize, serde::Deserialize, tidings::Event)]
#[event(name = "order.parting", version = 1)]
struct Parting {
    #[serde(skip)]
    bus: Option<Bus>,
}

impl Drop for Parting {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.take() {
            let order_id = String::from("ord-1");
            bus.try_emit(ParcelSent { order_id }).unwrap();
        }
    }
}

#[tokio::test]
async fn what_an_event_s_own_drop_code_emits_is_a_story_of_its_own() {
    let bus = bus().await;
    let log = Log::<Option<EventId>>::default();
    let seen = log.clone();
    bus.on(async |_: std::sync::Arc<Parting>| {});
    bus.on(move |sent: tidings::Delivery<ParcelSent>| {
        seen.add(sent.causation_id().cloned());
        async {}
    });
    let parting = || Parting {
        bus: Some(bus.clone()),
    };
    bus.emit(parting()).await.unwrap();
    bus.emit(parting()).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), [None, None]);
}

/// What was handled is settled before another handler is called, however long that one takes.
#[tokio::test]
async fn a_handler_finds_settled_what_others_handled_before_it() {
    use tidings::transport::{Lag, Name, Transport};

    let memory = tidings::memory::Memory::new();
    let store = memory.clone();
    let bus = Bus::builder("orders")
        .transport(memory)
        .build()
        .await
        .unwrap();
    let log = Log::<u64>::default();
    let seen = log.clone();
    bus.on(async |_: OrderPlaced| {});
    bus.on(move |_: OrderPaid| {
        let (store, seen) = (store.clone(), seen.clone());
        async move {
            let lag = store.lag(&Name::from_static("orders")).await.unwrap();
            seen.add(lag.iter().map(Lag::behind).sum::<u64>());
        }
    });
    for number in 0..3 {
        bus.emit(order(&number.to_string())).await.unwrap();
    }
    let order_id = String::from("ord-1");
    bus.emit(OrderPaid { order_id }).await.unwrap();
    bus.settled().await.unwrap();
    assert_eq!(log.take(), [1], "nothing but itself");
}

#[tokio::test]
async fn the_context_is_captured_when_the_emit_is_made() {
    let bus = bus().await;
    let log = watch(&bus);
    bus.with(bus.clone())
        .on(async |bus: Bus, order: OrderPlaced| {
            let emit = bus.emit(OrderPaid {
                order_id: order.order_id.clone(),
            });
            Context::default().scope(emit.into_future()).await.unwrap();
            let nothing = bus.emit(ParcelSent {
                order_id: order.order_id,
            });
            drop(nothing);
            let none = Context::default()
                .scope(async { bus.context().event_id().is_none() })
                .await;
            assert!(none, "inside an empty context there is nothing to carry");
        });
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();
    let mut seen = log.take();
    seen.sort_by_key(|event| event.causation.is_some());
    let [placed, paid] = &*seen else {
        panic!("{seen:?}")
    };
    assert_eq!(paid.causation.as_ref(), Some(&placed.id));
}

/// Handlers that take turns on the same threads keep their contexts apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contexts_of_handlers_side_by_side_do_not_mix() {
    let bus = bus().await;
    let log = watch(&bus);
    bus.with(bus.clone())
        .on(async |bus: Bus, order: OrderPlaced| {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                let correlation = bus.context().correlation_id().unwrap().to_string();
                assert_eq!(correlation, format!("req-{}", order.order_id));
            }
            bus.emit(OrderPaid {
                order_id: order.order_id,
            })
            .await
            .map(drop)
        });
    for number in 0..100 {
        let id = number.to_string();
        bus.emit(order(&id))
            .correlation(format!("req-{id}"))
            .id(format!("evt-{id}"))
            .await
            .unwrap();
    }
    bus.settled().await.unwrap();
    let paid: Vec<_> = log
        .take()
        .into_iter()
        .filter(|event| event.name == "order.paid")
        .collect();
    assert_eq!(paid.len(), 100);
    for event in paid {
        let number = event.causation.unwrap().to_string().replace("evt-", "req-");
        assert_eq!(event.correlation, number.as_str());
    }
}

#[tokio::test]
async fn an_emit_inside_a_listener_continues_the_event_that_it_hears() {
    for bus in buses().await {
        let log = watch(&bus);
        let emits = bus.clone();
        bus.listen(move |order: &OrderPlaced| {
            emits
                .try_emit(OrderPaid {
                    order_id: order.order_id.clone(),
                })
                .unwrap();
        });
        // The listener of an event that no group gets, so that its id is made when it is read.
        let emits = bus.clone();
        bus.listen(move |paid: &OrderPaid| {
            emits
                .try_emit(ParcelSent {
                    order_id: paid.order_id.clone(),
                })
                .unwrap();
        });
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();
        let [placed, paid, sent] = in_order(log.take());
        assert_eq!(
            (&paid.correlation, &paid.causation),
            (&placed.id, &Some(placed.id.clone()))
        );
        assert_eq!(
            (&sent.correlation, &sent.causation),
            (&placed.id, &Some(paid.id.clone()))
        );
        assert_eq!(sent.trace.trace_id(), placed.trace.trace_id());
    }
}

/// An event that only listeners hear gets its id when it is first asked for, and keeps it.
#[tokio::test]
async fn an_event_without_a_group_has_one_id_for_all_who_ask() {
    let bus = bus().await;
    let log = Log::<EventId>::default();
    let (taps, causes) = (log.clone(), log.clone());
    bus.on_any(move |tap| {
        if tap.name() == "order.placed" {
            taps.add(tap.id());
        }
    });
    let emits = bus.clone();
    bus.listen(move |_: &OrderPlaced| causes.add(emits.context().event_id().unwrap().clone()));
    let receipt = bus.emit(order("ord-1")).await.unwrap();
    let ids = log.take();
    assert_eq!(ids, [receipt.id().clone(), receipt.id().clone()]);
}

/// What an event carries on is settled when its emit is made, wherever that is awaited.
#[tokio::test]
async fn an_emit_made_outside_of_a_handler_carries_nothing_on() {
    let bus = bus().await;
    let contexts = Log::<Context>::default();
    bus.with((bus.clone(), contexts.clone())).on(
        async |(bus, contexts): (Bus, Log<Context>), _: OrderPlaced| contexts.add(bus.context()),
    );
    bus.emit(order("ord-1")).await.unwrap();
    bus.settled().await.unwrap();
    let handlers = contexts.take().remove(0);

    let (heard, emits) = (contexts.clone(), bus.clone());
    bus.listen(move |_: &OrderPaid| heard.add(emits.context()));
    let made_here = bus.emit(OrderPaid {
        order_id: "ord-1".into(),
    });
    let receipt = handlers.scope(made_here.into_future()).await.unwrap();
    let [seen] = &contexts.take()[..] else {
        panic!("one listener, one event");
    };
    assert_eq!(seen.event_id(), Some(receipt.id()));
    assert_eq!(seen.correlation_id(), Some(receipt.id()));
}
