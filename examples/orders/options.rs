//! The command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{audit, inventory, notification, payment};

const USAGE: &str = "\
usage: cargo run --example orders -- [options]

  --orders N     make up N orders, 1 to 1000000 (default 20); the 5th of every hundred is placed
                 twice, the 13th of every thousand is poison
  --seed S       which orders, and which of them the gateway is trouble for (default 7)
  --input FILE   read orders from FILE instead, one JSON object per line; - is standard input
  --audit        add one more consumer, which sees every event
  --transport U  where events go: a URL such as kafka://localhost:9092 (default: TIDINGS_URL, else
                 in memory)
  --only NAME    be one service of several: producer, inventory-service, payment-service,
                 notification-service or audit-service; the producer ends with its last order, the
                 others run until they are interrupted, and each prints its own counts
  --help         print this
";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) source: Source,
    pub(crate) seed: u64,
    pub(crate) audit: bool,
    pub(crate) transport: Option<String>,
    pub(crate) only: Option<String>,
}

/// The services that `--only` knows.
pub(crate) const PRODUCER: &str = "producer";
const SERVICES: [&str; 5] = [
    PRODUCER,
    inventory::GROUP,
    payment::GROUP,
    notification::GROUP,
    audit::GROUP,
];

/// Where orders come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    MadeUp(u64),
    File(PathBuf),
    Stdin,
}

/// Why there is nothing to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Help,
    Wrong(String),
}

impl Options {
    /// Whether this process is that service: all of them, unless it is told to be one.
    pub(crate) fn is(&self, service: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == service)
    }

    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, Stop> {
        let mut orders = None;
        let mut input = None;
        let mut options = Self {
            source: Source::MadeUp(20),
            seed: 7,
            audit: false,
            transport: None,
            only: None,
        };
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let (flag, inline) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let mut value = || {
                let value = inline.clone().or_else(|| args.next());
                value.ok_or_else(|| Stop::Wrong(format!("{flag} needs a value")))
            };
            match flag {
                "--orders" => orders = Some(number(flag, &value()?, 1, 1_000_000)?),
                "--seed" => options.seed = number(flag, &value()?, 0, u64::MAX)?,
                "--input" => input = Some(value()?),
                "--transport" => options.transport = Some(value()?),
                "--only" => options.only = Some(service(value()?)?),
                "--audit" if inline.is_none() => options.audit = true,
                "--help" | "-h" => return Err(Stop::Help),
                _ => return Err(Stop::Wrong(format!("{arg:?} is not an option"))),
            }
        }
        options.source = match (orders, input) {
            (Some(_), Some(_)) => {
                let both = "--orders and --input exclude each other: leave one out";
                return Err(Stop::Wrong(both.to_owned()));
            }
            (None, Some(input)) if input == "-" => Source::Stdin,
            (None, Some(input)) => Source::File(input.into()),
            (Some(orders), None) => Source::MadeUp(orders),
            (None, None) => options.source,
        };
        Ok(options)
    }
}

fn service(name: String) -> Result<String, Stop> {
    if SERVICES.contains(&name.as_str()) {
        return Ok(name);
    }
    let services = SERVICES.join(", ");
    Err(Stop::Wrong(format!(
        "--only {name:?} is none of {services}"
    )))
}

fn number(flag: &str, text: &str, least: u64, most: u64) -> Result<u64, Stop> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        Stop::Wrong(format!(
            "{flag} {text:?} is not a whole number from {least} to {most}"
        ))
    })
}

impl Stop {
    /// Says why on the right stream; a wrong command line ends with code 2.
    pub(crate) fn say(self) -> ExitCode {
        match self {
            Self::Help => {
                let _ = write!(std::io::stdout(), "{USAGE}");
                ExitCode::SUCCESS
            }
            Self::Wrong(why) => {
                let _ = write!(std::io::stderr(), "orders: {why}\n\n{USAGE}");
                ExitCode::from(2)
            }
        }
    }
}
