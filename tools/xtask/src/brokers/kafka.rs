//! Apache Kafka in KRaft mode, one node, from Maven Central.
//!
//! It listens in plain text, and with TLS and SASL (PLAIN, SCRAM) beside it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::{
    PATIENCE,
    child::Child,
    files::{Run, Values},
    tls::{self, Certificates},
    tools::{OPENSSL, Tool, require, step},
};
use crate::process::seconds;

/// The plain listener, as a URL that tests and examples take.
pub(super) const URL: &str = "TIDINGS_TEST_KAFKA";
/// The TLS listener with SASL, as `host:port`.
const SASL_SSL: &str = "TIDINGS_TEST_KAFKA_SASL_SSL";
/// Further plain listeners that clients are told to reach at another address, where a test has a proxy:
/// `address=listener`, more of them parted by commas. Whoever listens at such an address has that
/// listener to itself.
const PROXIED: &str = "TIDINGS_TEST_KAFKA_PROXIED";
/// The folder by which a test may stop, kill and start the broker.
const RUN: &str = "TIDINGS_TEST_KAFKA_RUN";
/// The password of `bob`, for URLs that name the variable in which it is.
const PASSWORD: &str = "TIDINGS_TEST_KAFKA_PASSWORD";
/// The file of the authority that signed its certificate.
const CA: &str = "TIDINGS_TEST_KAFKA_CA";

pub(super) const MAIN: &str = "kafka.Kafka";

const VERSION: &str = "4.3.1";

const TOOLS: &[Tool] = &[
    Tool {
        program: "java",
        version: "-version",
        package: "default-jre-headless",
    },
    Tool {
        program: "mvn",
        version: "-version",
        package: "maven",
    },
    OPENSSL,
];

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidings</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>KAFKA</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.2</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.2</version></dependency>
  </dependencies>
</project>
"#;

/// Without one it logs nothing, not even that it started.
const LOGGING: &str = "\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
";

const READY: &str = "Kafka Server started";

/// Users of both SCRAM mechanisms, made with the storage.
const SCRAM: [&str; 2] = [
    "SCRAM-SHA-256=[name=bob,password=bob-secret]",
    "SCRAM-SHA-512=[name=bob,password=bob-secret]",
];

#[derive(Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    controller: u16,
    pub(super) sasl: u16,
    // What clients are told, and where the broker listens.
    proxied: [(u16, u16); TESTS],
}

/// Tests that can have a proxy before the broker at once.
const TESTS: usize = 8;

pub(super) fn start(run: &Run, cache: &Path) -> Result<(Child, Values)> {
    require(TOOLS)?;
    let libs = install(cache)?;
    let ports = free_ports()?;
    let certificates = tls::make(run)?;
    let logging = run.write("log4j2.properties", LOGGING)?;
    let data = run.path("data");
    let properties = properties(&ports, &data, &certificates);
    let settings = run.write("server.properties", &properties)?;
    let java = |main: &str| {
        let mut command = Command::new("java");
        command
            .args(["-Xms256m", "-Xmx768m", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(libs.join("*"))
            .arg(main);
        command
    };
    let mut format = java("kafka.tools.StorageTool");
    format
        .args(["format", "-t", &cluster_id()?, "-c"])
        .arg(&settings);
    for user in SCRAM {
        format.args(["--add-scram", user]);
    }
    step(format)?;
    let mut server = java(MAIN);
    server.arg(&settings);
    run.write("start", &again(&server))?;
    let child = Child::start(server, &run.log(), READY, PATIENCE)?;
    let mut values = values(&ports, &certificates);
    let proxied = ports
        .proxied
        .map(|(told, listener)| format!("127.0.0.1:{told}=127.0.0.1:{listener}"));
    values.insert(PROXIED.into(), proxied.join(","));
    values.insert(RUN.into(), run.folder().display().to_string());
    Ok((child, values))
}

/// What tests are told of a broker at these ports.
pub(super) fn values(ports: &Ports, certificates: &Certificates) -> Values {
    let values = [
        (URL, format!("kafka://127.0.0.1:{}", ports.plain)),
        (SASL_SSL, format!("localhost:{}", ports.sasl)),
        (CA, certificates.ca.display().to_string()),
        (PASSWORD, "bob-secret".into()),
    ];
    values
        .map(|(name, value)| (String::from(name), value))
        .into()
}

/// How a test starts it again: what it says when it is ready, and the command, an argument a line.
fn again(server: &Command) -> String {
    let arguments = std::iter::once(server.get_program()).chain(server.get_args());
    let arguments = arguments.map(|argument| argument.to_string_lossy());
    let lines = std::iter::once(READY.into()).chain(arguments);
    lines.map(|line| format!("{line}\n")).collect()
}

/// The jars, downloaded once.
fn install(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("kafka-{VERSION}"));
    let libs = home.join("libs");
    if libs.is_dir() {
        return Ok(libs);
    }
    println!("kafka: downloading {VERSION} to {}", home.display());
    let begun = Instant::now();
    fs::create_dir_all(&home).with_context(|| format!("no folder `{}`", home.display()))?;
    let pom = home.join("pom.xml");
    fs::write(&pom, POM.replace("KAFKA", VERSION))
        .with_context(|| format!("`{}` was not written", pom.display()))?;
    // Renamed when all are there, so that a download that broke off is begun anew.
    let partial = home.join(format!("libs-{}", std::process::id()));
    let mut mvn = Command::new("mvn");
    mvn.args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", partial.display()));
    step(mvn)?;
    match fs::rename(&partial, &libs) {
        Ok(()) => {}
        // Somebody else was as quick.
        Err(_) if libs.is_dir() => fs::remove_dir_all(&partial).context("a copy stays")?,
        Err(error) => return Err(error).context("the downloaded jars were not moved"),
    }
    println!("kafka: downloaded in {}", seconds(begun.elapsed()));
    Ok(libs)
}

/// Ports that nobody has now. All are held until the last is known, so that they differ.
pub(super) fn free_ports() -> Result<Ports> {
    let held = [(); 3 + 2 * TESTS].map(|()| TcpListener::bind(("127.0.0.1", 0)));
    let mut ports = held.iter().map(|held| match held {
        Ok(listener) => Ok(listener.local_addr()?.port()),
        Err(error) => bail!("no free port on loopback: {error}"),
    });
    let mut next = || ports.next().context("as many were asked for")?;
    let (plain, controller, sasl) = (next()?, next()?, next()?);
    let mut proxied = [(0, 0); TESTS];
    for pair in &mut proxied {
        *pair = (next()?, next()?);
    }
    Ok(Ports {
        plain,
        controller,
        sasl,
        proxied,
    })
}

/// 16 random bytes as 22 characters of URL-safe base64.
fn cluster_id() -> Result<String> {
    let made = Command::new("openssl")
        .args(["rand", "-base64", "16"])
        .output();
    let made = made.context("`openssl rand` did not start")?;
    let text = String::from_utf8(made.stdout).context("`openssl rand` printed no text")?;
    let id = text.trim().trim_end_matches('=');
    // A leading hyphen would be read as an option.
    Ok(id.replace('+', "A").replace('/', "_"))
}

fn properties(ports: &Ports, data: &Path, certificates: &Certificates) -> String {
    let Ports {
        plain,
        controller,
        sasl,
        proxied,
    } = ports;
    let of_tests = |line: &dyn Fn(usize, u16, u16) -> String| {
        let numbered = proxied.iter().enumerate();
        let lines = numbered.map(|(number, (told, listener))| line(number, *told, *listener));
        lines.collect::<String>()
    };
    let listeners =
        of_tests(&|number, _, listener| format!(",PROXIED{number}://127.0.0.1:{listener}"));
    let advertised = of_tests(&|number, told, _| format!(",PROXIED{number}://127.0.0.1:{told}"));
    let protocols = of_tests(&|number, _, _| format!(",PROXIED{number}:PLAINTEXT"));
    // One test each.
    let threads =
        of_tests(&|number, _, _| format!("listener.name.proxied{number}.num.network.threads=1\n"));
    let jaas = "org.apache.kafka.common.security";
    let lines = [
        "process.roles=broker,controller".into(),
        "node.id=1".into(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!(
            "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl}{listeners}"
        ),
        format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{sasl}{advertised}"
        ),
        "controller.listener.names=CONTROLLER".into(),
        format!(
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL{protocols}"
        ),
        threads,
        format!("log.dirs={}", data.display()),
        "offsets.topic.replication.factor=1".into(),
        "offsets.topic.num.partitions=8".into(),
        "transaction.state.log.replication.factor=1".into(),
        "transaction.state.log.min.isr=1".into(),
        "transaction.state.log.num.partitions=8".into(),
        "share.coordinator.state.topic.replication.factor=1".into(),
        "share.coordinator.state.topic.min.isr=1".into(),
        "group.initial.rebalance.delay.ms=0".into(),
        "group.min.session.timeout.ms=1000".into(),
        "auto.create.topics.enable=false".into(),
        "broker.session.timeout.ms=2000".into(),
        "broker.heartbeat.interval.ms=400".into(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".into(),
        format!(
            "listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required user_alice=\"alice-secret\";"
        ),
        format!(
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;"
        ),
        format!(
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type=PEM".into(),
        format!("ssl.keystore.location={}", certificates.server.display()),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into(),
        "super.users=User:ANONYMOUS;User:admin".into(),
        "allow.everyone.if.no.acl.found=true".into(),
    ];
    let lines: Vec<String> = lines.into();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use saphyr::{LoadableYamlNode, Yaml};

    use super::*;

    #[test]
    fn free_ports_differ() {
        let ports = free_ports().expect("loopback has some");
        let mut all = vec![ports.plain, ports.controller, ports.sasl];
        all.extend(ports.proxied.iter().flat_map(|(told, port)| [told, port]));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    fn native() -> String {
        let ports = Ports {
            plain: 1,
            controller: 2,
            sasl: 3,
            proxied: std::array::from_fn(|at| (100 + at as u16, 200 + at as u16)),
        };
        let certificates = Certificates {
            ca: "ca.pem".into(),
            server: "server.pem".into(),
        };
        properties(&ports, Path::new("data"), &certificates)
    }

    fn setting<'a>(text: &'a str, name: &str) -> &'a str {
        let lines = text.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().expect("the setting")
    }

    #[test]
    fn everything_binds_to_loopback() {
        let text = native();
        let mut listeners = setting(&text, "listeners").split(',');
        assert!(listeners.all(|each| each.contains("://127.0.0.1:")));
    }

    #[test]
    fn clients_of_a_proxied_listener_are_told_the_proxy() {
        let text = native();
        assert!(setting(&text, "listeners").ends_with(",PROXIED7://127.0.0.1:207"));
        assert!(setting(&text, "advertised.listeners").ends_with(",PROXIED7://127.0.0.1:107"));
    }

    #[test]
    fn what_starts_it_again_is_its_command() {
        let mut command = Command::new("java");
        command.args(["-cp", "a folder/*", MAIN]);
        assert_eq!(
            again(&command),
            format!("{READY}\njava\n-cp\na folder/*\n{MAIN}\n")
        );
    }

    const COMPOSE: &str = include_str!("../../../../compose.yaml");

    /// What stands at this path in `compose.yaml`.
    fn composed<'a>(file: &'a Yaml<'a>, path: &[&str]) -> &'a Yaml<'a> {
        path.iter().fold(file, |at, name| {
            at.as_mapping_get(name)
                .unwrap_or_else(|| panic!("no {name} in compose.yaml"))
        })
    }

    fn texts<'a>(list: &'a Yaml<'a>) -> Vec<&'a str> {
        let items = list.as_sequence().expect("a list").iter();
        items.map(|item| item.as_str().expect("a text")).collect()
    }

    #[test]
    fn the_container_is_the_native_install() {
        let files = Yaml::load_from_str(COMPOSE).expect("YAML");
        let [file] = &files[..] else {
            panic!("{} documents", files.len());
        };
        let kafka = |name| composed(file, &["services", "kafka", name]);
        assert_eq!(
            kafka("image").as_str(),
            Some(&*format!("apache/kafka:{VERSION}"))
        );
        let ports = texts(kafka("ports"));
        assert_eq!(ports.len(), 2);
        for port in ports {
            let both = port.strip_prefix("127.0.0.1:").expect("loopback only");
            let (outside, inside) = both.split_at(both.len() / 2);
            assert_eq!(outside, &inside[1..], "the same inside and outside");
        }
        let command = texts(kafka("command")).join(" ");
        for user in SCRAM {
            assert!(
                command.contains(&format!("--add-scram '{user}'")),
                "{command}"
            );
        }

        let own = |text: &str| -> BTreeMap<String, String> {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines
                .map(|(key, value)| (key.into(), value.into()))
                .collect()
        };
        let settings = composed(file, &["configs", "kafka", "content"]);
        let mut composed = own(settings.as_str().expect("a text"));
        let mut native = own(&native());
        // Listeners for proxies: tests that disturb a broker take the native install.
        native.retain(|key, _| !key.starts_with("listener.name.proxied"));
        for (_, protocols) in native
            .iter_mut()
            .filter(|(key, _)| *key == "listener.security.protocol.map")
        {
            let own = protocols.find(",PROXIED").unwrap_or(protocols.len());
            protocols.truncate(own);
        }
        // Where the two have to differ: a container's addresses and paths.
        for place in [
            "controller.quorum.voters",
            "listeners",
            "advertised.listeners",
            "log.dirs",
            "ssl.keystore.location",
        ] {
            assert!(native.remove(place).is_some(), "{place}");
            assert!(composed.remove(place).is_some(), "{place}");
        }
        assert_eq!(composed, native);
    }
}
