//! A broker's process, which outlives the command that started it.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::process::{command_line, seconds};

#[derive(Debug)]
pub(super) struct Child(u32);

/// How often a state is looked at that nobody reports.
const GLANCE: Duration = Duration::from_millis(50);

/// How many of its last lines say why a broker did not start.
const LAST_LINES: usize = 20;

impl Child {
    pub(super) fn known(id: u32) -> Self {
        Self(id)
    }

    pub(super) fn id(&self) -> u32 {
        self.0
    }

    /// Starts a broker in a process group of its own, so that an interrupt of this command is not
    /// one of the broker, and waits for the line that says that it is ready.
    pub(super) fn start(
        mut command: Command,
        log: &Path,
        ready: &str,
        patience: Duration,
    ) -> Result<Self> {
        let line = command_line(&command);
        let file = fs::File::create(log).with_context(|| format!("no file `{}`", log.display()))?;
        let again = file.try_clone().context("no second handle of the log")?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again);
        let mut child = command
            .spawn()
            .with_context(|| format!("`{line}` did not start"))?;
        let begun = Instant::now();
        loop {
            if fs::read_to_string(log).is_ok_and(|text| text.contains(ready)) {
                return Ok(Self(child.id()));
            }
            if let Some(status) = child.try_wait().context("a child cannot be waited for")? {
                bail!("`{line}` ended with {status}:\n{}", last_lines(log));
            }
            if begun.elapsed() > patience {
                let _ = child.kill();
                let _ = child.wait();
                bail!(
                    "`{line}` did not say {ready:?} within {}:\n{}",
                    seconds(patience),
                    last_lines(log)
                );
            }
            thread::sleep(GLANCE);
        }
    }

    /// Whether it lives and its command line has these two.
    pub(super) fn is_called(&self, mark: &str, folder: &Path) -> bool {
        let Ok(called) = fs::read(format!("/proc/{}/cmdline", self.0)) else {
            return false;
        };
        let called = String::from_utf8_lossy(&called);
        called.contains(mark) && called.contains(&*folder.to_string_lossy())
    }

    fn lives(&self) -> bool {
        // One that has ended and that nobody waited for yet has an empty command line.
        fs::read(format!("/proc/{}/cmdline", self.0)).is_ok_and(|called| !called.is_empty())
    }

    /// Asks it to end, and kills it when it does not.
    pub(super) fn stop(&self, patience: Duration) -> Result<()> {
        self.signal("TERM")?;
        if self.ended(patience) {
            return Ok(());
        }
        println!(
            "process {} did not end within {}: killed",
            self.0,
            seconds(patience)
        );
        self.signal("KILL")?;
        if self.ended(patience) {
            return Ok(());
        }
        bail!("process {} did not end", self.0)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let id = self.0.to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        let sent = sent.context("`kill` did not start")?;
        // It may have ended by itself just now.
        if !sent.success() && self.lives() {
            bail!("`kill -s {signal} {id}` failed with {sent}");
        }
        Ok(())
    }

    fn ended(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while self.lives() {
            if begun.elapsed() > patience {
                return false;
            }
            thread::sleep(GLANCE);
        }
        true
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn log(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tidings-xtask-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_says_that_it_is_ready_is_up_until_it_is_stopped() {
        let log = log("ready");
        let script = "echo come on; echo ready now; while :; do sleep 0.1; done";
        let patience = Duration::from_secs(30);
        let child = Child::start(shell(script), &log, "ready now", patience).expect("it is ready");
        assert!(child.is_called("sh", Path::new("ready now")));
        assert!(!child.is_called("kafka", Path::new("ready now")));
        child.stop(patience).expect("it ends");
        assert!(!child.is_called("sh", Path::new("ready now")));
        fs::remove_file(log).expect("a log");
    }

    #[test]
    fn what_ends_before_says_why() {
        let log = log("ends");
        let script = "echo the port is taken >&2; exit 3";
        let started = Child::start(shell(script), &log, "ready", Duration::from_secs(30));
        let error = started.expect_err("it ended").to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("the port is taken"), "{error}");
        fs::remove_file(log).expect("a log");
    }
}
