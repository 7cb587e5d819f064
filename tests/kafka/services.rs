//! The orders example as several processes, each with one service.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use tidings::transport::{Declare, GroupTopology, Name, Start, Topics, Topology, Transport};
use tokio::sync::{Mutex, mpsc};

use crate::{kafka, orders};

/// The example's groups and topics have fixed names: one run at a time.
pub(crate) static ALONE: Mutex<()> = Mutex::const_new(());

/// Holds the arguments of a child, a line each.
const ARGUMENTS: &str = "TIDINGS_TEST_ORDERS";

const SERVICES: [&str; 3] = [
    "inventory-service",
    "payment-service",
    "notification-service",
];
const ORDERS: u64 = 60;

/// Runs the example instead of the tests, in a child.
pub(crate) fn of_this_process() -> Option<ExitCode> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    let options = orders::options::Options::parse(arguments.lines().map(Into::into)).ok()?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(orders::run(&options, std::io::stdout()));
    Some(match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    })
}

struct Service {
    name: &'static str,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Service {
    fn start(name: &'static str, url: &str) -> Self {
        let orders = ORDERS.to_string();
        let mut arguments = vec!["--only", name, "--transport", url, "--seed", "7"];
        if name == "producer" {
            arguments.extend(["--orders", &orders]);
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ARGUMENTS, arguments.join("\n"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sent, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sent.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, child, lines }
    }

    /// Waits until it says this.
    async fn says(&mut self, what: &str) {
        while let Some(line) = self.lines.recv().await {
            if line.contains(what) {
                return;
            }
        }
        panic!("{} ended and did not say {what:?}", self.name);
    }

    /// Interrupts it; gives back what it counted.
    async fn end(mut self) -> BTreeMap<String, u64> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let mut counted = None;
        while let Some(line) = self.lines.recv().await {
            if let Some(counts) = line.strip_prefix("counted here: ") {
                let pairs = counts.split(' ').map(|pair| pair.split_once('=').unwrap());
                let pairs = pairs.map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
                counted = Some(pairs.collect());
            }
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
        counted.unwrap_or_else(|| panic!("{} counted nothing", self.name))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}

pub(crate) async fn balance(url: String) {
    let _alone = ALONE.lock().await;
    let services = SERVICES.map(|name| Service::start(name, &url));
    let mut producer = Service::start("producer", &url);
    producer
        .says("all orders are placed: interrupt to end")
        .await;
    let transport = kafka(&url);
    let group = |name: &'static str| GroupTopology {
        name: Name::from_static(name),
        topics: match name {
            "notification-service" => {
                Topics::exact(["order.placed", "payment.completed", "payment.failed"])
            }
            _ => Topics::exact(["order.placed"]),
        },
        ordered: true,
        start: Start::Earliest,
        dead_letters: None,
        queue: None,
    };
    let topology = Topology {
        topics: Vec::new(),
        groups: SERVICES.map(group).into(),
        declare: Declare::Assume,
    };
    transport.declare(&topology).await.unwrap();
    // In this order: what one of them emits another one handles.
    for name in SERVICES {
        let behind = async || {
            let lags = transport.lag(&Name::from_static(name)).await.unwrap();
            lags.iter().map(|lag| lag.behind()).sum::<u64>()
        };
        let wait = async {
            while behind().await > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(90), wait).await;
        assert!(waited.is_ok(), "{name} is {} behind", behind().await);
    }
    producer.end().await;
    let mut all = BTreeMap::new();
    for service in services {
        all.insert(service.name, service.end().await);
    }
    // Each counts what it handles: who mails knows what became of the payments.
    assert_eq!(all["inventory-service"]["placed"], ORDERS, "{all:?}");
    let mailed = &all["notification-service"];
    // One order is poison.
    assert_eq!(mailed["paid"] + mailed["failed"] + 1, ORDERS, "{all:?}");
}
