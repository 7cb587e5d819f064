//! Programs that a broker needs beside a Rust toolchain.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::process::{self, Show, command_line};

/// A program, how to see that it is there, and the Debian package that has it.
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) version: &'static str,
    pub(super) package: &'static str,
}

pub(super) const OPENSSL: Tool = Tool {
    program: "openssl",
    version: "version",
    package: "openssl",
};

/// How often it is looked whether a program has ended that has only so long.
const GLANCE: Duration = Duration::from_millis(20);

/// Every tool that is missing, at once.
pub(super) fn require(tools: &[Tool]) -> Result<()> {
    let is_missing = |tool: &&Tool| {
        let answer = Command::new(tool.program).arg(tool.version).output();
        !answer.is_ok_and(|answer| answer.status.success())
    };
    let missing: Vec<&Tool> = tools.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = |name: fn(&Tool) -> &'static str, between: &str| {
        let names: Vec<&str> = missing.iter().map(|tool| name(tool)).collect();
        names.join(between)
    };
    bail!(
        "missing: {}. Install them with `apt-get install -y {}`, or as your system has it",
        list(|tool| tool.program, ", "),
        list(|tool| tool.package, " ")
    )
}

/// Runs a step to its end; what it printed is shown if it failed.
pub(super) fn step(command: Command) -> Result<()> {
    let line = command_line(&command);
    let finished = process::run(command, Show::Later, |_| {})?;
    if finished.status.success() {
        return Ok(());
    }
    let said: Vec<String> = finished.tail.into();
    bail!(
        "`{line}` failed with {}:\n{}",
        finished.status,
        said.join("\n")
    )
}

/// Runs a program that may hang and prints little; gives back what it printed.
pub(super) fn within(mut command: Command, limit: Duration) -> Result<String> {
    let line = command_line(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("`{line}` did not start"))?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("a child cannot be waited for")? {
            break status;
        }
        if begun.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{line}` did not end within {}", process::seconds(limit));
        }
        thread::sleep(GLANCE);
    };
    let printed = text(child.stdout.take());
    if status.success() {
        return Ok(printed);
    }
    let said = text(child.stderr.take());
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    bail!(
        "`{line}` failed with {status}: {}",
        last.unwrap_or("it said nothing").trim()
    )
}

fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What could be read is shown.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tool(program: &'static str, package: &'static str) -> Tool {
        Tool {
            program,
            version: "--version",
            package,
        }
    }

    #[test]
    fn every_missing_tool_is_named_with_what_installs_it() {
        let tools = [
            tool("cargo", "cargo"),
            tool("no-such-tool", "no-such-package"),
            tool("nor-this", "nor-that"),
        ];
        let error = require(&tools).expect_err("two are missing").to_string();
        assert!(
            error.starts_with("missing: no-such-tool, nor-this. "),
            "{error}"
        );
        assert!(
            error.contains("install -y no-such-package nor-that`"),
            "{error}"
        );
        require(&tools[..1]).expect("cargo runs this test");
    }

    #[test]
    fn a_step_that_fails_shows_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no space left; exit 2"]);
        let error = step(command).expect_err("it failed").to_string();
        assert!(error.contains("exit status: 2"), "{error}");
        assert!(error.ends_with("no space left"), "{error}");
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_hangs_is_ended() {
        let limit = Duration::from_millis(100);
        let error = within(shell("exec sleep 60"), limit).expect_err("it hangs");
        assert!(
            error.to_string().ends_with("did not end within 0.1 s"),
            "{error}"
        );
    }

    #[test]
    fn what_ends_in_time_is_read() {
        let limit = Duration::from_secs(60);
        assert_eq!(within(shell("echo 28"), limit).expect("it ends"), "28\n");
        let error = within(shell("echo no daemon >&2; exit 1"), limit).expect_err("it fails");
        assert!(
            error.to_string().ends_with("exit status: 1: no daemon"),
            "{error}"
        );
    }
}
