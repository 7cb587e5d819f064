//! The fault matrix on Apache Kafka, in short forms. Rows that stop the broker are left to
//! `cargo xtask faults`: they keep all others waiting, and the conformance suite restarts it too.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/kafka/rows/mod.rs"]
mod rows;

use std::io::Write;
use std::process::ExitCode;

use tidings_conformance::{Broker, Trials};

use rows::{ROWS, Row, Size, World};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(ended) = runtime.block_on(rows::app::of_this_process()) {
        return ended;
    }
    drop(runtime);
    let trials = Trials::new(Broker::named_by("TIDINGS_TEST_KAFKA"));
    let add = |trials: Trials, row: &'static Row| {
        let name = format!("{}: {}", row.name, row.about);
        let run = async |_| show(row).await;
        match row.needs {
            Some(variable) => trials.trial_with(variable, name, run),
            None => trials.trial(name, run),
        }
    };
    let beside_others = ROWS.iter().filter(|row| !row.alone);
    beside_others.fold(trials, add).main()
}

async fn show(row: &Row) {
    let shown = row.run(World::from_env().unwrap(), Size::Short).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}"));
    let _ = write!(std::io::stdout(), "{}:\n{shown}", row.name);
}
