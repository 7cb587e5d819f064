//! How the suite gets hold of Kafka, and disturbs it.

mod cancel;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_conformance::{Fault, FaultyHandle, Harness, Injected, Injector, Load};
use tidings_faults::{Listeners, Proxy, Service, Way};
use tidings_kafka::Kafka;
use tidings_transport::{BoxFuture, ErrorKind, Name, TransportError};

/// How long the broker may take to stop or to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// One broker; each handle that can be disturbed has a proxy of its own before it.
pub(crate) struct KafkaHarness {
    servers: String,
    // Those of a broker that `cargo xtask brokers` started; another's cannot be disturbed.
    listeners: Option<Listeners>,
    service: Option<Arc<Service>>,
    faults: Vec<Fault>,
}

impl KafkaHarness {
    pub(crate) fn new(url: &str) -> Self {
        let named = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        let listeners = named("TIDINGS_TEST_KAFKA_PROXIED")
            .map(|text| text.parse().expect("listeners as xtask writes them"));
        let service = named("TIDINGS_TEST_KAFKA_RUN")
            .map(|folder| Arc::new(Service::at(folder).expect("a folder as xtask leaves it")));
        let mut faults = Vec::new();
        if listeners.is_some() {
            faults.extend([
                Fault::DropConnection,
                Fault::LoseConfirms,
                Fault::Unreachable,
                Fault::CancelConsumer,
            ]);
        }
        if listeners.is_some() && service.is_some() {
            faults.push(Fault::RestartBroker);
        }
        Self {
            servers: url.trim_start_matches("kafka://").to_owned(),
            listeners,
            service,
            faults,
        }
    }
}

impl Harness for KafkaHarness {
    type Transport = Kafka;

    async fn open(&self) -> Result<Kafka, TransportError> {
        Ok(Kafka::new(&self.servers).partitions(3))
    }

    fn faults(&self) -> &[Fault] {
        &self.faults
    }

    async fn open_faulty(&self) -> FaultyHandle<Kafka> {
        let listeners = self.listeners.as_ref();
        let listeners = listeners.ok_or_else(|| failed("TIDINGS_TEST_KAFKA_PROXIED is not set"))?;
        let proxy = listeners.proxy().await.map_err(failed)?;
        let kafka = Kafka::new(proxy.address().to_string())
            .partitions(3)
            // Shorter than any fault lasts, so that each publish has its verdict within the case.
            .publish_deadline(Duration::from_secs(3));
        let wire = Wire {
            proxy,
            servers: self.servers.clone(),
            service: self.service.clone(),
            restarts: AtomicU64::new(0),
        };
        Ok((kafka, Box::new(wire)))
    }

    /// What publishes in flight hold until the client has taken them. The client's own copies are
    /// bounded by `buffered_kib` and `fetched_kib`.
    fn resident_bound(&self, load: &Load) -> Option<usize> {
        Some(load.publishers * load.payload)
    }

    /// A group has to be joined, and offsets to be fetched, before anything comes.
    fn quiet(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Groups agree on their members first, on two busy cores now and then not at once.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// One handle's way to the broker.
struct Wire {
    proxy: Proxy,
    servers: String,
    service: Option<Arc<Service>>,
    restarts: AtomicU64,
}

impl Injector for Wire {
    fn inject<'a>(&'a self, fault: Fault, group: &'a Name) -> BoxFuture<'a, Injected> {
        Box::pin(async move {
            match fault {
                Fault::DropConnection => self.cut().await?,
                Fault::LoseConfirms => self.proxy.lose(Way::ToClient),
                Fault::Unreachable => self.proxy.refuse(),
                Fault::RestartBroker => self.restart().await?,
                Fault::CancelConsumer => cancel::remove_members(&self.servers, group).await?,
                other => return Err(failed(format!("{other} is no fault of Kafka's"))),
            }
            Ok(())
        })
    }

    fn heal(&self) -> BoxFuture<'_, Injected> {
        self.proxy.heal();
        let hit = self.proxy.injected().total() > 0 || self.restarts.load(Ordering::Relaxed) > 0;
        Box::pin(async move {
            hit.then_some(())
                .ok_or_else(|| failed("the fault hit nothing, so the case would show nothing"))
        })
    }
}

impl Wire {
    /// Breaks what is open, once something is.
    async fn cut(&self) -> Injected {
        let before = self.proxy.injected().resets;
        let broken = async {
            while self.proxy.injected().resets == before {
                self.proxy.cut();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, broken).await.map_err(failed)
    }

    async fn restart(&self) -> Injected {
        let service = self.service.as_ref();
        let service = service.ok_or_else(|| failed("TIDINGS_TEST_KAFKA_RUN is not set"))?;
        service.stop(PATIENCE).await.map_err(failed)?;
        service.start(PATIENCE).await.map_err(failed)?;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn failed(what: impl std::fmt::Display) -> TransportError {
    TransportError::new(ErrorKind::Other, format!("the harness failed: {what}"))
}
