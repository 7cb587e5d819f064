//! A transport from a URL, so that an environment variable moves a program.

use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "kafka")]
use tidings_kafka::{Compression, GroupProtocol, Kafka, KafkaConfig};
use tidings_memory::{Memory, MemoryConfig};
use tidings_transport::{Name, TransportError};

use super::error::BuildError;
use super::{Bus, BusBuilder};

/// The environment variable that [`Bus::from_env`] reads.
const VARIABLE: &str = "TIDINGS_URL";

/// A key of a URL's query: its name, and how its value gets into the transport's settings.
type Key<C> = (&'static str, fn(&mut C, &str) -> Result<(), &'static str>);

const MEMORY: &[Key<MemoryConfig>] = &[
    ("queue", |to, text| set(&mut to.queue, number(text))),
    ("spill", |to, text| set(&mut to.spill, number(text))),
    ("dead_letters", |to, text| {
        set(&mut to.dead_letters, number(text))
    }),
    ("publish_deadline", |to, text| {
        set(&mut to.publish_deadline, duration(text))
    }),
    ("max_payload", |to, text| {
        set(&mut to.max_payload, number(text))
    }),
    ("encoded", |to, text| {
        set(&mut to.encoded, text.parse().map_err(|_| "true or false"))
    }),
];

#[cfg(feature = "kafka")]
const KAFKA: &[Key<KafkaConfig>] = &[
    ("partitions", |to, text| {
        set(&mut to.partitions, number(text))
    }),
    ("replication", |to, text| {
        set(&mut to.replication, number(text).map(Some))
    }),
    ("publish_deadline", |to, text| {
        set(&mut to.publish_deadline, duration(text))
    }),
    ("connect_timeout", |to, text| {
        set(&mut to.connect_timeout, duration(text))
    }),
    ("session_timeout", |to, text| {
        set(&mut to.session_timeout, duration(text))
    }),
    ("revoke_deadline", |to, text| {
        set(&mut to.revoke_deadline, duration(text))
    }),
    ("linger", |to, text| set(&mut to.linger, duration(text))),
    ("compression", |to, text| {
        let known = Compression::parse(text).ok_or("none, gzip, snappy or lz4");
        set(&mut to.compression, known)
    }),
    ("buffered_messages", |to, text| {
        set(&mut to.buffered_messages, number(text))
    }),
    ("buffered_kib", |to, text| {
        set(&mut to.buffered_kib, number(text))
    }),
    ("fetched_kib", |to, text| {
        set(&mut to.fetched_kib, number(text))
    }),
    ("max_payload", |to, text| {
        set(&mut to.max_payload, number(text))
    }),
    ("max_headers", |to, text| {
        set(&mut to.max_headers, number(text))
    }),
    ("commit_interval", |to, text| {
        set(&mut to.commit_interval, duration(text))
    }),
    ("commit_every", |to, text| {
        set(&mut to.commit_every, number(text))
    }),
    ("static_member", |to, text| {
        set(&mut to.static_member, Ok(Some(text.to_owned())))
    }),
    ("group_protocol", |to, text| {
        let known = match text {
            "classic" => Ok(GroupProtocol::Classic),
            "consumer" => Ok(GroupProtocol::Consumer),
            _ => Err("classic or consumer"),
        };
        set(&mut to.group_protocol, known)
    }),
    ("topic_refresh", |to, text| {
        set(&mut to.topic_refresh, duration(text))
    }),
];

impl Bus {
    /// A bus on the transport that the environment variable `TIDINGS_URL` names; in memory where
    /// it is not set.
    ///
    /// # Errors
    ///
    /// As [`Bus::connect`].
    pub async fn from_env(service: impl Into<Name>) -> Result<Bus, BuildError> {
        match std::env::var(VARIABLE) {
            Ok(url) => Self::connect(service, &url).await,
            Err(std::env::VarError::NotPresent) => Self::builder(service).build().await,
            Err(std::env::VarError::NotUnicode(_)) => Err(BuildError::listed(vec![format!(
                "{VARIABLE} is not UTF-8 text: write a URL such as memory://"
            )])),
        }
    }

    /// A bus on the transport that a URL names:
    ///
    /// - `memory://`, with `queue`, `spill`, `dead_letters`, `publish_deadline` (`500ms`, `30s`),
    ///   `max_payload` and `encoded` as query;
    /// - `kafka://host:9092,host2:9092/`, with feature `kafka`, and `partitions`, `replication`,
    ///   `publish_deadline`, `connect_timeout`, `session_timeout`, `revoke_deadline`, `linger`,
    ///   `compression` (`none`, `gzip`, `snappy`, `lz4`), `buffered_messages`, `buffered_kib`,
    ///   `fetched_kib`, `max_payload`, `max_headers`, `commit_interval`, `commit_every`,
    ///   `topic_refresh`, `static_member`, `group_protocol` (`classic`, `consumer`), and settings of
    ///   topics that are created as `topic.<name>` (`topic.retention.ms=604800000`); with feature
    ///   `kafka-ssl` also `tls=true`, `ca_file`, `certificate_file` and `key_file`, `sasl` (`plain`,
    ///   `scram-sha-256`, `scram-sha-512`), `user`, and `password_env`, the name of an environment
    ///   variable: a URL holds no secret. Client properties and what is `unsafe_` come from code only.
    ///
    /// Each key is the setting of the same name of the transport's own type.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = tidings::Bus::connect("order-service", "memory://?queue=2048").await?;
    /// let wrong = tidings::Bus::connect("order-service", "memory://?queu=2048").await;
    /// assert!(wrong.unwrap_err().problems()[0].contains("did you mean `queue`?"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An unknown scheme, one whose feature is off, an unknown key with the nearest one, a value
    /// that cannot be read. Credentials in the URL are never shown.
    pub async fn connect(service: impl Into<Name>, url: &str) -> Result<Bus, BuildError> {
        Self::builder(service)
            .url(url)
            .map_err(BuildError::listed)?
            .build()
            .await
    }
}

impl BusBuilder {
    fn url(self, url: &str) -> Result<Self, Vec<String>> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(vec![format!(
                "{VARIABLE} has no scheme: write a URL such as memory:// (got {} characters)",
                url.len()
            )]);
        };
        match scheme {
            "memory" => memory(rest).map(|memory| self.transport(memory)),
            #[cfg(feature = "kafka")]
            "kafka" => kafka(rest).map(|kafka| self.transport(kafka)),
            #[cfg(not(feature = "kafka"))]
            "kafka" => Err(vec![String::from(
                "this build has no Kafka: turn on the feature `kafka` of tidings",
            )]),
            "amqp" | "amqps" => Err(vec![format!(
                "this build has no transport for {scheme}://: it is not part of this version of tidings"
            )]),
            other => {
                let hint = nearest(other, ["memory", "kafka", "amqp", "amqps"].into_iter());
                Err(vec![format!(
                    "unknown transport {other:?}{hint} (valid: memory, kafka)"
                )])
            }
        }
    }
}

fn memory(rest: &str) -> Result<Memory, Vec<String>> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut config = MemoryConfig::default();
    let mut problems = read(&mut config, query, MEMORY, &[]);
    if !place.trim_end_matches('/').is_empty() {
        problems.push(String::from(
            "a memory:// URL names no host: everything is in this process",
        ));
    }
    finish(Memory::with_config(config), problems)
}

#[cfg(feature = "kafka")]
fn kafka(rest: &str) -> Result<Kafka, Vec<String>> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, path) = place.split_once('/').unwrap_or((place, ""));
    let (secure, query) = security::part(query);
    let mut config = KafkaConfig::default();
    let query = of_topics(&mut config, &query);
    let (mut problems, query) = from_code(&query);
    problems.extend(read(&mut config, &query, KAFKA, &security::KEYS));
    if !path.is_empty() {
        problems.push(format!(
            "a kafka:// URL ends with its servers, {path:?} follows: topics come from event types"
        ));
    }
    if servers.contains('@') {
        // Not shown: what stands before it is a secret.
        problems.push(String::from(
            "a kafka:// URL holds no user or password: leave out everything up to the `@`, and say \
             `sasl=..&user=..&password_env=..`",
        ));
        return Err(problems);
    }
    match security::apply(Kafka::with_config(servers, config), &secure) {
        Ok(kafka) => finish(kafka.check().map(|()| kafka), problems),
        Err(wrong) => {
            problems.extend(wrong);
            Err(problems)
        }
    }
}

/// Parts off the settings of topics, which are the broker's: `topic.<name>`. What is left is a query.
#[cfg(feature = "kafka")]
fn of_topics(config: &mut KafkaConfig, query: &str) -> String {
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair
            .strip_prefix("topic.")
            .and_then(|pair| pair.split_once('='))
        {
            Some((name, value)) => {
                config
                    .topic_config
                    .insert(name.to_owned(), value.to_owned());
            }
            None => others.push(pair),
        }
    }
    others.join("&")
}

/// Parts off what only code may set, with an error for each: who may write a URL should not be able to
/// give up what the program relies on. What is left is a query.
#[cfg(feature = "kafka")]
fn from_code(query: &str) -> (Vec<String>, String) {
    // Names of client properties without a dot.
    const PROPERTIES: [&str; 4] = ["acks", "debug", "partitioner", "retries"];
    let (mut problems, mut others) = (Vec::new(), Vec::new());
    for pair in query.split('&') {
        let name = pair.split('=').next().unwrap_or_default();
        if name.starts_with("unsafe_") || name.starts_with("danger_") {
            problems.push(format!(
                "a kafka:// URL cannot say {name:?}: it comes from code only, as a method of `Kafka`"
            ));
        } else if name.contains('.') || PROPERTIES.contains(&name) {
            problems.push(format!(
                "a kafka:// URL cannot set the client property {name:?}: it comes from code only, by \
                 `Kafka::property`"
            ));
        } else {
            others.push(pair);
        }
    }
    (problems, others.join("&"))
}

/// The keys of a `kafka://` URL that say who is let in, and by whom.
#[cfg(feature = "kafka")]
mod security {
    use tidings_kafka::Kafka;

    pub(super) const KEYS: [&str; 7] = [
        "tls",
        "ca_file",
        "certificate_file",
        "key_file",
        "sasl",
        "user",
        "password_env",
    ];

    /// Parts them from the others, which stay a query.
    pub(super) fn part(query: &str) -> (Vec<(&str, &str)>, String) {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let (secure, others): (Vec<&str>, Vec<&str>) =
            pairs.partition(|pair| KEYS.contains(&pair.split('=').next().unwrap_or_default()));
        let secure = secure
            .into_iter()
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        (secure.collect(), others.join("&"))
    }

    #[cfg(not(feature = "kafka-ssl"))]
    pub(super) fn apply(kafka: Kafka, secure: &[(&str, &str)]) -> Result<Kafka, Vec<String>> {
        match secure.first() {
            None => Ok(kafka),
            Some((key, _)) => Err(vec![format!(
                "{key} needs OpenSSL: turn on the feature `kafka-ssl` of tidings"
            )]),
        }
    }

    #[cfg(feature = "kafka-ssl")]
    pub(super) fn apply(kafka: Kafka, secure: &[(&str, &str)]) -> Result<Kafka, Vec<String>> {
        use tidings_kafka::{Sasl, Tls};

        let value = |name: &str| {
            let mut named = secure.iter().filter(|(key, _)| *key == name);
            named.next_back().map(|(_, value)| *value)
        };
        let mut problems = Vec::new();
        let mut kafka = kafka;
        let identity = (value("certificate_file"), value("key_file"));
        let mut tls = Tls::new();
        if let Some(file) = value("ca_file") {
            tls = tls.ca_file(file);
        }
        match identity {
            (None, None) => {}
            (Some(certificate), Some(key)) => tls = tls.identity(certificate, key),
            _ => problems.push(String::from(
                "certificate_file and key_file belong together: give both or none",
            )),
        }
        match (value("tls"), tls == Tls::new()) {
            (None | Some("false"), true) => {}
            (None | Some("true"), _) => kafka = kafka.tls(tls),
            (Some("false"), false) => problems.push(String::from(
                "ca_file, certificate_file and key_file need tls=true: leave out one of them",
            )),
            (Some(other), _) => problems.push(format!("tls is {other:?}: expected true or false")),
        }
        let password = match value("password_env") {
            None => None,
            Some(variable) => match std::env::var(variable) {
                Ok(password) => Some(password),
                Err(_) => {
                    problems.push(format!(
                        "password_env names {variable:?}, which is not set to a text"
                    ));
                    Some(String::new())
                }
            },
        };
        let make: Option<fn(String, String) -> Sasl> = match value("sasl") {
            None => None,
            Some("plain") => Some(Sasl::plain),
            Some("scram-sha-256") => Some(Sasl::scram_sha_256),
            Some("scram-sha-512") => Some(Sasl::scram_sha_512),
            Some(other) => {
                problems.push(format!(
                    "sasl is {other:?}: expected plain, scram-sha-256 or scram-sha-512"
                ));
                None
            }
        };
        match (make, value("user"), password) {
            (Some(make), Some(user), Some(password)) => {
                kafka = kafka.sasl(make(user.to_owned(), password));
            }
            (None, None, None) => {}
            _ if problems.is_empty() => problems.push(String::from(
                "sasl, user and password_env belong together: give all of them or none",
            )),
            _ => {}
        }
        if problems.is_empty() {
            Ok(kafka)
        } else {
            Err(problems)
        }
    }
}

/// Reads the settings of a query; gives back what is wrong with it. `more` are keys that are read
/// elsewhere.
fn read<C>(config: &mut C, query: &str, keys: &[Key<C>], more: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match keys.iter().find(|(key, _)| *key == name) {
            Some((_, set)) => {
                if let Err(expected) = set(config, value) {
                    problems.push(format!("{name} is {value:?}: expected {expected}"));
                }
            }
            None => {
                let valid = || keys.iter().map(|(key, _)| *key).chain(more.iter().copied());
                let hint = nearest(name, valid());
                let valid = valid().collect::<Vec<_>>().join(", ");
                problems.push(format!("unknown key {name:?}{hint} (valid: {valid})"));
            }
        }
    }
    problems
}

fn finish<T>(made: Result<T, TransportError>, mut problems: Vec<String>) -> Result<T, Vec<String>> {
    match made {
        Ok(made) if problems.is_empty() => Ok(made),
        Ok(_) => Err(problems),
        Err(error) => {
            problems.push(error.to_string());
            Err(problems)
        }
    }
}

fn set<T>(place: &mut T, value: Result<T, &'static str>) -> Result<(), &'static str> {
    *place = value?;
    Ok(())
}

fn number<N: FromStr>(value: &str) -> Result<N, &'static str> {
    value.parse().map_err(|_| "a whole number")
}

fn duration(value: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a duration such as 500ms or 30s";
    let digits = value.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let count: u64 = value[..digits].parse().map_err(|_| EXPECTED)?;
    match &value[digits..] {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        _ => Err(EXPECTED),
    }
}

/// ", did you mean …" for the valid word that needs the fewest edits, if that is few enough.
fn nearest<'a>(word: &str, valid: impl Iterator<Item = &'a str>) -> String {
    valid
        .map(|valid| (edits(word, valid), valid))
        .filter(|(edits, valid)| *edits <= 1 + valid.len() / 4)
        .min()
        .map_or_else(String::new, |(_, valid)| {
            format!(": did you mean `{valid}`?")
        })
}

/// Levenshtein's distance over bytes.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_kafka_has_its_key() {
        let query = "max_headers=1024&commit_interval=2s&commit_every=7&compression=lz4\
                     &topic.retention.ms=604800000&topic.min.insync.replicas=2&replication=3";
        let made = kafka(&format!("localhost:9092/?{query}")).expect("all are known");
        let mut expected = KafkaConfig::default();
        expected.max_headers = 1_024;
        expected.commit_interval = Duration::from_secs(2);
        expected.commit_every = 7;
        expected.compression = Compression::Lz4;
        expected.replication = Some(3);
        for (name, value) in [("retention.ms", "604800000"), ("min.insync.replicas", "2")] {
            expected.topic_config.insert(name.into(), value.into());
        }
        assert_eq!(*made.config(), expected);
        // The fields of the settings, but for those that come from code only.
        let all = format!("{:?}", KafkaConfig::default());
        let fields = all
            .split([' ', '{'])
            .filter_map(|word| word.strip_suffix(':'));
        let fields = fields.filter(|name| !name.starts_with("unsafe_") && *name != "properties");
        let of_topics = ["topic_config"];
        for field in fields {
            let known = KAFKA.iter().any(|(key, _)| *key == field) || of_topics.contains(&field);
            assert!(known, "{field} has no key");
        }
    }

    #[test]
    fn what_a_topic_must_be_is_not_for_a_url() {
        let wrong = kafka("localhost:9092/?topic.cleanup.policy=compact").expect_err("refused");
        assert!(
            wrong[0].contains("topic_config sets cleanup.policy"),
            "{wrong:?}"
        );
    }

    #[cfg(feature = "kafka-ssl")]
    #[test]
    fn a_certificate_and_its_key_belong_together() {
        let wrong = kafka("localhost:9092/?certificate_file=me.pem").expect_err("half of it");
        assert!(wrong[0].contains("give both or none"), "{wrong:?}");
        let wrong = kafka("localhost:9092/?certificate_file=no-such.pem&key_file=nor-this.key");
        let wrong = wrong.expect_err("no such files").join("; ");
        assert!(
            wrong.contains("certificate no-such.pem") && wrong.contains("key nor-this.key"),
            "{wrong}"
        );
    }
}
