//! The broker, and how it can be disturbed.

use std::env;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use tidings_faults::{Listeners, Proxy, Service};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Names a broker's URL, the listeners behind proxies, and the broker's folder.
const URL: &str = "TIDINGS_TEST_KAFKA";
pub(super) const PROXIED: &str = "TIDINGS_TEST_KAFKA_PROXIED";
pub(super) const RUN: &str = "TIDINGS_TEST_KAFKA_RUN";

/// A broker that `cargo xtask brokers` started.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) servers: String,
}

impl World {
    pub(crate) fn from_env() -> Result<Self> {
        let url = named(URL)?;
        Ok(Self {
            servers: url.trim_start_matches("kafka://").to_owned(),
        })
    }

    pub(super) fn service(&self) -> Result<Service> {
        Ok(Service::at(named(RUN)?)?)
    }

    pub(super) async fn proxy(&self) -> Result<Proxy> {
        let listeners: Listeners = named(PROXIED)?.parse()?;
        Ok(listeners.proxy().await?)
    }

    pub(super) fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        let admin = config.set("bootstrap.servers", &self.servers).create();
        admin.context("no client for the broker")
    }
}

fn named(variable: &str) -> Result<String> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    value.with_context(|| {
        format!("{variable} is not set: `cargo xtask faults kafka` starts a broker that can be disturbed")
    })
}

/// A name that no other run has.
pub(super) fn unique(what: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{what}-{}-{}", since.as_micros(), std::process::id())
}
