//! Brokers in containers, as `compose.yaml` at the root describes them.
//!
//! A project of its own for each run, so that two checkouts do not take each other's for theirs.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    Broker, PATIENCE,
    files::{Run, Values},
    kafka, tls,
    tools::{OPENSSL, require, step, within},
};

/// What `compose.yaml` reads.
const FILES: &str = "TIDINGS_KAFKA_FILES";
const PLAIN: &str = "TIDINGS_KAFKA_PORT";
const SASL_SSL: &str = "TIDINGS_KAFKA_SASL_SSL_PORT";

/// How long a short question to the engine may take.
const ANSWERS: Duration = Duration::from_secs(5);

/// How many of its last lines say why a broker did not start.
const LAST_LINES: &str = "20";

/// Whether containers can be run here; else why not. A `docker` on the path alone is no engine.
pub(super) fn engine() -> Result<()> {
    // Neither the program's version nor that of Compose says that an engine is there.
    for args in [
        &["info", "--format", "{{.ServerVersion}}"][..],
        &["compose", "version"],
    ] {
        let mut docker = Command::new("docker");
        docker.args(args);
        within(docker, ANSWERS)?;
    }
    Ok(())
}

/// The containers of one run.
#[derive(Debug)]
pub(super) struct Project {
    name: String,
}

impl Project {
    pub(super) fn known(name: String) -> Self {
        Self { name }
    }

    /// Starts a broker's container and waits until the broker answers.
    pub(super) fn start(broker: Broker, run: &Run) -> Result<(Self, Values)> {
        require(&[OPENSSL])?;
        let certificates = tls::make(run)?;
        let ports = kafka::free_ports()?;
        let project = Self::known(format!("tidings-{}-{}", broker.name(), ports.plain));
        // From here on there may be something to take down.
        run.note_project(&project.name)?;
        let mut up = project.compose(run);
        up.args(["up", "--detach", "--wait", "--wait-timeout"])
            .args([&PATIENCE.as_secs().to_string(), broker.name()])
            .env(FILES, run.folder())
            .env(PLAIN, ports.plain.to_string())
            .env(SASL_SSL, ports.sasl.to_string());
        let started = step(up).and_then(|()| project.ask(broker, run, ports.plain));
        if let Err(error) = started {
            let said = project.last_lines(broker, run);
            // What it left is in the way of the next one.
            if let Err(left) = project.stop(run).and_then(|()| run.remove()) {
                bail!("{error:#}\n{said}\nand it was not taken down: {left:#}");
            }
            bail!("{error:#}\n{said}");
        }
        Ok((project, kafka::values(&ports, &certificates)))
    }

    /// An open port is not yet a broker that answers.
    fn ask(&self, broker: Broker, run: &Run, port: u16) -> Result<()> {
        let mut ask = self.compose(run);
        ask.args(["exec", "-T", broker.name()])
            .arg("/opt/kafka/bin/kafka-broker-api-versions.sh")
            .args(["--bootstrap-server", &format!("127.0.0.1:{port}")]);
        within(ask, PATIENCE).map(drop)
    }

    /// Whether the broker's container runs.
    pub(super) fn runs(&self, broker: Broker, run: &Run) -> Result<bool> {
        let mut list = self.compose(run);
        list.args(["ps", "--quiet", "--status", "running", broker.name()]);
        let running = within(list, ANSWERS).with_context(|| {
            format!(
                "whether the containers of project `{}` run is not known",
                self.name
            )
        })?;
        Ok(!running.trim().is_empty())
    }

    /// Removes its containers with what they wrote.
    pub(super) fn stop(&self, run: &Run) -> Result<()> {
        let mut down = self.compose(run);
        down.args(["down", "--volumes", "--timeout"])
            .arg(PATIENCE.as_secs().to_string());
        step(down)
    }

    /// Where it is and how its logs are seen.
    pub(super) fn place(&self) -> String {
        let name = &self.name;
        format!("in Docker's project {name}, logs by `docker compose --project-name {name} logs`")
    }

    fn last_lines(&self, broker: Broker, run: &Run) -> String {
        let mut logs = self.compose(run);
        logs.args(["logs", "--no-color", "--tail", LAST_LINES, broker.name()]);
        within(logs, ANSWERS).unwrap_or_else(|error| format!("{error:#}"))
    }

    fn compose(&self, run: &Run) -> Command {
        compose(run.root(), &self.name)
    }
}

fn compose(root: &Path, project: &str) -> Command {
    let mut docker = Command::new("docker");
    docker
        .args(["compose", "--project-name", project, "--file"])
        .arg(root.join("compose.yaml"));
    docker
}
