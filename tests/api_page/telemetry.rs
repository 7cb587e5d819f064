//! Spans and log lines: their names, how they are linked, and what is never in them.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde::{Deserialize, Serialize};
use tidings::memory::Memory;
use tidings::transport::{
    Carried, Headers, Message, Name, Origin, Payload, PublishError, Receipt, Transport, field,
};
use tidings::{Bus, Delivery, Event, Middleware, NextPublish, RetryPolicy, async_trait};

use crate::capture::{Capture, Seen};
use crate::kit::{Log, OrderPaid, OrderPlaced, buses, order};

#[tokio::test]
async fn send_and_process_spans_carry_opentelemetrys_messaging_names() {
    for bus in buses().await {
        let (capture, _guard) = Capture::start();
        bus.group("billing")
            .named("charge")
            .on(async |_: OrderPlaced| {});
        let receipt = bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
        bus.settled().await.unwrap();
        let (sends, processes) = (capture.spans("send"), capture.spans("process"));
        let ([send], [process]) = (&*sends, &*processes) else {
            panic!("{sends:?} {processes:?}")
        };
        for (span, operation, kind) in
            [(send, "send", "producer"), (process, "process", "consumer")]
        {
            let id = receipt.id().to_string();
            for (name, value) in [
                ("otel.name", &*format!("{operation} order.placed")),
                ("otel.kind", kind),
                ("messaging.system", "memory"),
                ("messaging.operation.name", operation),
                ("messaging.operation.type", operation),
                ("messaging.destination.name", "order.placed"),
                ("messaging.message.id", &id),
                ("messaging.message.conversation_id", "req-7"),
                ("cloudevents.event_type", "order.placed"),
                ("correlation_id", "req-7"),
            ] {
                assert_eq!(span.field(name), value, "{operation}: {name}");
            }
        }
        assert_eq!(
            process.field("messaging.consumer.group.name"),
            "order-service.billing"
        );
        assert_eq!(process.field("handler"), "charge");
    }
}

fn hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[tokio::test]
async fn the_handle_span_continues_the_producers_trace_and_is_the_parent_of_what_is_emitted_in_it()
{
    for bus in buses().await {
        let (capture, _guard) = Capture::start();
        let log = Log::<String>::default();
        let state = (bus.clone(), log.clone());
        bus.with(state).on(
            async |(bus, log): (Bus, Log), order: Delivery<OrderPlaced>| {
                log.add(format!("{:016x}", order.trace().unwrap().span_id()));
                log.add(format!("{:016x}", bus.context().trace().unwrap().span_id()));
                tokio::task::yield_now().await;
                bus.emit(OrderPaid {
                    order_id: order.order_id.clone(),
                })
                .await
                .map(drop)
            },
        );
        bus.group("next").on(async |_: OrderPaid| {});
        bus.emit(order("ord-1")).await.unwrap();
        bus.settled().await.unwrap();

        let (sends, processes) = (capture.spans("send"), capture.spans("process"));
        let ([sent, sent_inside], [handled, handled_next]) = (&*sends, &*processes) else {
            panic!("{sends:?} {processes:?}")
        };
        let chain = [sent, handled, sent_inside, handled_next];
        let trace = sent.field("trace_id");
        assert!(hexadecimal(&trace, 32), "{trace:?}");
        assert!(
            chain.iter().all(|span| span.field("trace_id") == trace),
            "one trace: {chain:?}"
        );
        assert_eq!(sent.field("parent_span_id"), "", "nothing led to it");
        for pair in chain.windows(2) {
            let (parent, child) = (pair[0].field("span_id"), pair[1].field("parent_span_id"));
            assert!(hexadecimal(&parent, 16), "{pair:?}");
            assert_eq!(parent, child, "{} leads to {}", pair[0].name, pair[1].name);
        }
        let spans = [sent.field("span_id"), handled.field("span_id")];
        assert_eq!(
            log.take(),
            spans,
            "the delivery's is the producer's, the context's the handler's"
        );
    }
}

fn scope_field(scope: &[Seen], name: &str) -> String {
    scope
        .iter()
        .map(|span| span.field(name))
        .find(|value| !value.is_empty())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_correlation_id_is_on_the_users_own_lines_inside_a_handler() {
    for bus in buses().await {
        let (capture, _guard) = Capture::start();
        bus.named("charge").on(async |_: OrderPlaced| {
            tracing::info!("my own line, before");
            tokio::task::yield_now().await;
            tracing::info!("my own line, after");
            Err::<(), _>("again")
        });
        let receipt = bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
        bus.settled().await.unwrap();
        tracing::info!("my own line, outside");
        let lines = capture.lines("my own line");
        assert_eq!(lines.len(), 2 * 5 + 1, "two in each attempt");
        let (outside, inside) = lines.split_last().unwrap();
        assert!(outside.scope.is_empty());
        for line in inside {
            assert_eq!(scope_field(&line.scope, "correlation_id"), "req-7");
            assert_eq!(
                scope_field(&line.scope, "messaging.message.id"),
                receipt.id().to_string()
            );
            assert_eq!(scope_field(&line.scope, "handler"), "charge");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_line_names_event_id_handler_group_attempt_and_correlation() {
    for bus in buses().await {
        let (capture, _guard) = Capture::start();
        let group = bus
            .group("billing")
            .retry(RetryPolicy::exponential().attempts(2));
        group
            .named("charge")
            .on(async |_: OrderPlaced| Err::<(), _>("card declined"));
        let receipt = bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
        bus.settled().await.unwrap();
        let failures = capture.lines("handler failed");
        assert_eq!(failures.len(), 2);
        let dead = capture.lines("event dead-lettered");
        assert_eq!(dead.len(), 1);
        let id = receipt.id().to_string();
        for (line, attempt) in failures
            .iter()
            .zip(["1", "2"])
            .chain(dead.iter().zip(["2"]))
        {
            for (name, value) in [
                ("event", "order.placed"),
                ("id", &*id),
                ("handler", "charge"),
                ("group", "order-service.billing"),
                ("attempt", attempt),
                ("correlation_id", "req-7"),
                ("error", "card declined"),
            ] {
                assert_eq!(line.field(name), value, "{name} of {line:?}");
            }
        }
        assert_eq!(
            (failures[0].level, dead[0].level),
            (tracing::Level::WARN, tracing::Level::ERROR)
        );
        assert_eq!(failures[0].field("class"), "transient");
        assert_ne!(failures[0].field("retry_in"), "");
        assert_eq!(dead[0].field("reason"), "exhausted");
    }
}

/// Says a line around every publish.
struct Says;

#[async_trait]
impl Middleware for Says {
    async fn publish(
        &self,
        message: Message,
        next: NextPublish<'_>,
    ) -> Result<Receipt, PublishError> {
        tokio::task::yield_now().await;
        tracing::info!("publishing");
        next.run(message).await
    }
}

#[tokio::test]
async fn the_send_span_lasts_as_long_as_the_publish_waits() {
    let (capture, _guard) = Capture::start();
    let bus = Bus::builder("order-service")
        .around_publish(Says)
        .build()
        .await
        .unwrap();
    bus.listen(|_: &OrderPlaced| tracing::info!("listening"));
    bus.emit(order("ord-1")).correlation("req-7").await.unwrap();
    for text in ["publishing", "listening"] {
        let lines = capture.lines(text);
        assert_eq!(lines.len(), 1);
        let scope: Vec<_> = lines[0].scope.iter().map(|span| span.name).collect();
        assert_eq!(scope, ["send"], "{text}");
        assert_eq!(scope_field(&lines[0].scope, "correlation_id"), "req-7");
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "secret.told", version = 1, key = key)]
struct SecretTold {
    key: String,
    secret: String,
}

const CANARY: &str = "canary-4711";

fn secret() -> SecretTold {
    SecretTold {
        key: format!("key-{CANARY}"),
        secret: format!("secret-{CANARY}"),
    }
}

/// Every way an event can go, and no text of it in a line, a span or an error's text.
#[tokio::test(start_paused = true)]
async fn no_payload_is_ever_logged() {
    for encoded in [false, true] {
        let (capture, _guard) = Capture::start();
        let memory = Memory::new().encoded(encoded).queue(4);
        let bus = Bus::builder("svc")
            .transport(memory.clone())
            .build()
            .await
            .unwrap();
        bus.named("fine").on(async |_: SecretTold| {});
        bus.named("fails")
            .on(async |_: SecretTold| Err::<(), _>("no"));
        bus.named("panics").on(async |_: SecretTold| panic!("no"));
        bus.group("audit")
            .on_pattern("#", async |_| Err::<(), _>("no"));
        bus.listen(|_: &SecretTold| Err::<(), _>("no"));
        bus.on_any(|_| panic!("no"));
        bus.emit(secret())
            .header("token", format!("header-{CANARY}"))
            .await
            .unwrap();
        bus.emit(secret()).id("twice").await.unwrap();
        bus.settled().await.unwrap();
        bus.emit(secret()).id("twice").await.unwrap();
        // Bodies that cannot be read, each with the canary in its way.
        for body in [
            format!(r#"{{"key":"k","secret":["{CANARY}"]}}"#),
            format!(r#"{{"key":"k","{CANARY}":1}}"#),
            format!(r#"{{"key":"k","secret":"{CANARY}"#),
            CANARY.to_owned(),
            format!(r#"{{"key":"k","key":"{CANARY}","secret":"s"}}"#),
            format!(r#""{CANARY}""#),
        ] {
            let mut fields = Headers::new();
            fields.push(field::ID, "evt");
            fields.push(field::TYPE, SecretTold::NAME);
            fields.push(field::VERSION, "1");
            let message = Message {
                topic: Name::from_static(SecretTold::NAME),
                key: Some(CANARY.into()),
                envelope: Carried::Raw(fields),
                headers: Headers::new(),
                payload: Payload::Bytes(body.into_bytes().into()),
                delay: None,
            };
            memory.publish(message, Origin::default()).await.unwrap();
            bus.settled().await.unwrap();
        }
        let refused = (0..100).find_map(|_| bus.try_emit(secret()).err()).unwrap();
        assert!(!format!("{refused:?} {refused}").contains(CANARY));
        assert!(!refused.reason().to_string().contains(CANARY));
        bus.settled().await.unwrap();
        let report = bus.shutdown().await;
        assert!(!format!("{report:?}").contains(CANARY));
        let dead = bus.explain().to_string();
        assert!(!dead.contains(CANARY));

        assert!(!capture.lines("event dead-lettered").is_empty());
        assert!(!capture.lines("handler failed").is_empty());
        assert!(!capture.lines("listener failed").is_empty());
        let everything = capture.everything();
        let at = everything.find(CANARY);
        assert_eq!(
            at.map(|at| &everything[at.saturating_sub(300)..at + 20]),
            None
        );
    }
}
