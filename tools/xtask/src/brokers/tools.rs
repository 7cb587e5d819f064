//! Programs that a broker needs beside a Rust toolchain.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, Show, command_line};

/// A program, how to see that it is there, and the Debian package that has it.
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) version: &'static str,
    pub(super) package: &'static str,
}

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
}
