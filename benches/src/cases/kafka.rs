//! Goals K1 to K3: on a real broker, beside hand-written loops on the raw client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use tidings::kafka::Kafka;
use tidings::{Bus, Event};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::name;
use crate::driver::Case;

const WINDOW: usize = 10_000;
const BACKLOG: u64 = 600_000;
const LANES: usize = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Some 200 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "bench.published", version = 1, key = order_id)]
struct Published {
    order_id: String,
    user_id: String,
    total_cents: u64,
    note: String,
}

/// The same, on the topic of the backlog.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "bench.backlog", version = 1, key = order_id)]
struct Backlog {
    order_id: String,
    user_id: String,
    total_cents: u64,
    note: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "bench.slow", version = 1, key = key)]
struct Slow {
    key: String,
}

macro_rules! order {
    ($Order:ident, $number:expr) => {
        $Order {
            order_id: format!("ord_{}", $number % 1_000),
            user_id: format!("usr_{}", $number),
            total_cents: 5_999,
            note: "x".repeat(110),
        }
    };
}

pub(super) fn cases(url: &str) -> Result<Vec<Case>> {
    let servers: Arc<str> = url.trim_start_matches("kafka://").into();
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?,
    );
    runtime.block_on(prepare(&servers))?;
    Ok(vec![
        publish_raw(&servers, &runtime)?,
        publish(&servers, &runtime)?.against(name::KAFKA_PUBLISH_RAW),
        consume_raw(&servers, &runtime),
        consume(&servers, &runtime).against(name::KAFKA_CONSUME_RAW),
        slow_raw(&runtime),
        slow(&servers, &runtime)?.against(name::KAFKA_SLOW_RAW),
    ])
}

fn kafka(servers: &str, partitions: u32) -> Kafka {
    Kafka::new(servers)
        .partitions(partitions)
        .linger(Duration::from_millis(5))
}

async fn bus(servers: &str, partitions: u32) -> Result<Bus> {
    let run = SystemTime::UNIX_EPOCH.elapsed()?.as_micros();
    Ok(Bus::builder(format!("bench-{run}"))
        .transport(kafka(servers, partitions))
        .build()
        .await?)
}

/// Topics, and the backlog that is consumed again and again, each time by a new group.
async fn prepare(servers: &str) -> Result<()> {
    let bus = bus(servers, 4).await?;
    let sink = bus.publisher::<Backlog>();
    stream::iter(0..BACKLOG)
        .map(|number| sink.emit(order!(Backlog, number)).into_future())
        .buffer_unordered(WINDOW)
        .try_for_each(async |_| Ok(()))
        .await?;
    bus.emit(order!(Published, 0)).await?;
    bus.shutdown()
        .await
        .context("the producer of the backlog")?;
    Ok(())
}

fn client(servers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers);
    client
}

fn publish_raw(servers: &str, runtime: &Arc<Runtime>) -> Result<Case> {
    let producer: FutureProducer = client(servers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .create()?;
    let runtime = Arc::clone(runtime);
    Ok(Case::new(name::KAFKA_PUBLISH_RAW, move |count| {
        let begun = Instant::now();
        let sent = stream::iter(0..count)
            .map(|number| {
                let producer = &producer;
                async move {
                    let order = order!(Published, number);
                    let body = serde_json::to_vec(&order)?;
                    let id = format!("0192d3a4-5b6c-7d8e-9f00-{number:012x}");
                    let headers = [
                        ("ce_specversion", "1.0"),
                        ("ce_id", &id),
                        ("ce_type", "bench.published"),
                        ("ce_eventversion", "1"),
                        ("ce_source", "bench"),
                        ("content-type", "application/json"),
                        ("ce_correlationid", &id),
                        ("ce_time", "2026-03-10T14:23:00.123456Z"),
                    ];
                    let headers = headers.iter().fold(
                        OwnedHeaders::new_with_capacity(8),
                        |headers, (key, value)| {
                            headers.insert(Header {
                                key,
                                value: Some(*value),
                            })
                        },
                    );
                    let record = FutureRecord::to("bench.published")
                        .key(&order.order_id)
                        .payload(&body)
                        .headers(headers);
                    producer
                        .send(record, Duration::from_secs(10))
                        .await
                        .map_err(|(error, _)| anyhow::Error::from(error))
                }
            })
            .buffer_unordered(WINDOW)
            .try_for_each(async |_| Ok(()));
        expect(runtime.block_on(sent));
        begun.elapsed()
    }))
}

fn publish(servers: &str, runtime: &Arc<Runtime>) -> Result<Case> {
    let bus = runtime.block_on(bus(servers, 4))?;
    let runtime = Arc::clone(runtime);
    Ok(Case::new(name::KAFKA_PUBLISH, move |count| {
        let begun = Instant::now();
        let orders = bus.publisher::<Published>();
        let sent = stream::iter(0..count)
            .map(|number| orders.emit(order!(Published, number)).into_future())
            .buffer_unordered(WINDOW)
            .try_for_each(async |_| Ok(()));
        expect(
            runtime
                .block_on(sent)
                .map_err(|error| anyhow::anyhow!("{error}: {}", error.reason())),
        );
        begun.elapsed()
    }))
}

fn group() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!(
        "bench-{}-{}",
        since.as_micros(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// What was consumed of the backlog, as if there were more of it.
fn scaled(took: Duration, of: u64, count: u64) -> Duration {
    took.mul_f64(count as f64 / of as f64)
}

fn consume_raw(servers: &Arc<str>, runtime: &Arc<Runtime>) -> Case {
    let (servers, runtime) = (Arc::clone(servers), Arc::clone(runtime));
    Case::new(name::KAFKA_CONSUME_RAW, move |count| {
        let of = count.min(BACKLOG);
        let consumed = async {
            let consumer: StreamConsumer = client(&servers)
                .set("group.id", group())
                .set("enable.auto.offset.store", "false")
                .set("enable.auto.commit", "true")
                .set("auto.commit.interval.ms", "1000")
                .set("auto.offset.reset", "earliest")
                .set("fetch.queue.backoff.ms", "10")
                .set("check.crcs", "true")
                .create()?;
            consumer.subscribe(&["bench.backlog"])?;
            let mut total = 0;
            let mut begun = None;
            for _ in 0..of {
                let message = consumer.recv().await?;
                begun.get_or_insert_with(Instant::now);
                let order: Backlog = serde_json::from_slice(message.payload().unwrap_or_default())?;
                total += order.total_cents;
                consumer.store_offset_from_message(&message)?;
            }
            std::hint::black_box(total);
            let took = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
            tokio::task::spawn_blocking(move || drop(consumer)).await?;
            Ok(took)
        };
        scaled(expect(runtime.block_on(consumed)), of, count)
    })
}

fn consume(servers: &Arc<str>, runtime: &Arc<Runtime>) -> Case {
    let (servers, runtime) = (Arc::clone(servers), Arc::clone(runtime));
    Case::new(name::KAFKA_CONSUME, move |count| {
        let of = count.min(BACKLOG);
        let consumed = async {
            let bus = bus(&servers, 4).await?;
            let seen = Arc::new(Seen::default());
            let handler = Arc::clone(&seen);
            bus.group("bench").on(move |order: Arc<Backlog>| {
                handler.note(order.total_cents, of);
                async {}
            });
            bus.start().await?;
            seen.done.notified().await;
            let took = seen.took();
            let _ = bus.shutdown().await;
            Ok(took)
        };
        scaled(expect(runtime.block_on(consumed)), of, count)
    })
}

/// Counts what a handler sees, from the first to the last.
#[derive(Default)]
struct Seen {
    count: AtomicU64,
    total: AtomicU64,
    begun: std::sync::OnceLock<Instant>,
    ended: std::sync::OnceLock<Instant>,
    done: Notify,
}

impl Seen {
    fn note(&self, cents: u64, of: u64) {
        self.total.fetch_add(cents, Ordering::Relaxed);
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            let _ = self.begun.set(Instant::now());
        }
        if before + 1 == of {
            let _ = self.ended.set(Instant::now());
            self.done.notify_one();
        }
    }

    fn took(&self) -> Duration {
        match (self.begun.get(), self.ended.get()) {
            (Some(begun), Some(ended)) => *ended - *begun,
            _ => Duration::ZERO,
        }
    }
}

/// As many sleeps at once as there are lanes, and nothing else.
fn slow_raw(runtime: &Arc<Runtime>) -> Case {
    let runtime = Arc::clone(runtime);
    Case::new(name::KAFKA_SLOW_RAW, move |count| {
        let begun = Instant::now();
        runtime.block_on(
            stream::iter(0..count)
                .map(|_| tokio::time::sleep(PAUSE))
                .buffer_unordered(LANES)
                .for_each(async |()| {}),
        );
        begun.elapsed()
    })
}

fn slow(servers: &Arc<str>, runtime: &Arc<Runtime>) -> Result<Case> {
    let (bus, seen) = runtime.block_on(async {
        let bus = bus(servers, 1).await?;
        let seen = Arc::new(std::sync::Mutex::new(Arc::new((Seen::default(), 0))));
        let current = Arc::clone(&seen);
        bus.group("slow")
            .concurrency(LANES)
            .start_at(tidings::Start::Latest)
            .on(move |_: Arc<Slow>| {
                let current = Arc::clone(&current);
                async move {
                    tokio::time::sleep(PAUSE).await;
                    let seen = current.lock().map(|seen| Arc::clone(&seen));
                    if let Ok(seen) = seen {
                        seen.0.note(1, seen.1);
                    }
                }
            });
        bus.start().await?;
        bus.settled().await?;
        anyhow::Ok((bus, seen))
    })?;
    let runtime = Arc::clone(runtime);
    Ok(Case::new(name::KAFKA_SLOW, move |count| {
        let run = Arc::new((Seen::default(), count));
        if let Ok(mut seen) = seen.lock() {
            *seen = Arc::clone(&run);
        }
        let begun = Instant::now();
        let handled = async {
            let slow = bus.publisher::<Slow>();
            stream::iter(0..count)
                .map(|number| {
                    let key = format!("k{}", number % 1_000);
                    slow.emit(Slow { key }).into_future()
                })
                .buffer_unordered(WINDOW)
                .try_for_each(async |_| Ok(()))
                .await
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            run.0.done.notified().await;
            Ok(())
        };
        expect(runtime.block_on(handled));
        begun.elapsed()
    }))
}

/// A benchmark that cannot go on has nothing to say.
#[allow(clippy::panic, reason = "a benchmark")]
fn expect<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}
