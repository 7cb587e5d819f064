//! A transport from a URL, so that an environment variable moves a program.

use std::time::Duration;

use tidings_memory::Memory;
use tidings_transport::Name;

use super::error::BuildError;
use super::{Bus, BusBuilder};

/// The environment variable that [`Bus::from_env`] reads.
const VARIABLE: &str = "TIDINGS_URL";

/// What a memory URL may set.
const KEYS: [&str; 6] = [
    "queue",
    "spill",
    "dead_letters",
    "publish_deadline",
    "max_payload",
    "encoded",
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

    /// A bus on the transport that a URL names: `memory://`, with `queue`, `spill`,
    /// `dead_letters`, `publish_deadline` (`500ms`, `30s`), `max_payload` and `encoded` as query.
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
            "kafka" | "amqp" | "amqps" => Err(vec![format!(
                "this build has no transport for {scheme}://: it is not part of this version of tidings"
            )]),
            other => {
                let hint = nearest(other, ["memory", "kafka", "amqp", "amqps"].into_iter());
                Err(vec![format!(
                    "unknown transport {other:?}{hint} (valid: memory)"
                )])
            }
        }
    }
}

fn memory(rest: &str) -> Result<Memory, Vec<String>> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut problems = Vec::new();
    if !place.trim_end_matches('/').is_empty() {
        problems.push(String::from(
            "a memory:// URL names no host: everything is in this process",
        ));
    }
    let mut memory = Memory::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let set = match key {
            "queue" => number(value).map(|n| memory.clone().queue(n)),
            "spill" => number(value).map(|n| memory.clone().spill(n)),
            "dead_letters" => number(value).map(|n| memory.clone().dead_letters(n)),
            "max_payload" => number(value).map(|n| memory.clone().max_payload(n)),
            "publish_deadline" => duration(value).map(|d| memory.clone().publish_deadline(d)),
            "encoded" => value
                .parse()
                .map(|encoded| memory.clone().encoded(encoded))
                .map_err(|_| "true or false"),
            _ => {
                let hint = nearest(key, KEYS.into_iter());
                let valid = KEYS.join(", ");
                problems.push(format!("unknown key {key:?}{hint} (valid: {valid})"));
                continue;
            }
        };
        match set {
            Ok(set) => memory = set,
            Err(expected) => problems.push(format!("{key} is {value:?}: expected {expected}")),
        }
    }
    problems.extend(memory.check().err().map(|error| error.to_string()));
    if problems.is_empty() {
        Ok(memory)
    } else {
        Err(problems)
    }
}

fn number(value: &str) -> Result<usize, &'static str> {
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
