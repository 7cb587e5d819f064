//! Running a program while reading along.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

/// How many lines of a hidden run are kept for the case that it fails. Harnesses list their
/// failures last, so the tail is the part to keep.
const KEPT_LINES: usize = 2_000;

/// When a program's output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Line by line, as it comes.
    Live,
    /// All at once when it has ended, by the caller, from [`Finished::tail`].
    AtEnd,
    /// Only when the caller asks, from [`Finished::tail`].
    Later,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// The last lines that were held back; empty after [`Show::Live`].
    pub(crate) tail: VecDeque<String>,
}

/// Runs a program to its end and calls `each` with every line it prints, both streams in the
/// order of writing.
pub(crate) fn run(
    mut command: Command,
    show: Show,
    mut each: impl FnMut(&str),
) -> Result<Finished> {
    let line = command_line(&command);
    let (reader, writer) = io::pipe().context("no pipe for a program's output")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("no second end of a pipe")?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("`{line}` did not start"))?;
    // The command holds this process's copies of the pipe's write ends: as long as they are open,
    // the reader below sees no end.
    drop(command);

    let mut tail = VecDeque::new();
    for_each_line(reader, |text| {
        each(text);
        match show {
            Show::Live => println!("{text}"),
            Show::AtEnd | Show::Later => {
                if tail.len() == KEPT_LINES {
                    tail.pop_front();
                }
                tail.push_back(text.to_owned());
            }
        }
    })
    .with_context(|| format!("the output of `{line}` could not be read"))?;
    let status = child
        .wait()
        .with_context(|| format!("`{line}` could not be waited for"))?;
    Ok(Finished { status, tail })
}

/// A command as one would type it: cargo without its path, folder and environment left out.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let is_cargo = program.file_stem().is_some_and(|name| name == "cargo");
    let mut line = if is_cargo {
        "cargo".into()
    } else {
        program.display().to_string()
    };
    for arg in command.get_args() {
        line.push(' ');
        let arg = arg.to_string_lossy();
        if arg.is_empty() || arg.contains([' ', '"', '\'']) {
            line.push_str(&format!("{arg:?}"));
        } else {
            line.push_str(&arg);
        }
    }
    line
}

/// A duration as a reader wants it: `0.4 s`, `1 min 05 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Calls `each` with every line; bytes that are not UTF-8 are shown as replacement characters.
fn for_each_line(reader: impl Read, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut buffer = Vec::new();
    while reader.read_until(b'\n', &mut buffer)? > 0 {
        each(String::from_utf8_lossy(&buffer).trim_end_matches(['\n', '\r']));
        buffer.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    /// This test binary itself: the one program that is there on every platform.
    fn myself(arg: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(arg);
        command
    }

    #[test]
    fn every_line_is_seen_and_kept() {
        let mut seen = Vec::new();
        let finished = run(myself("--list"), Show::Later, |line| {
            seen.push(line.to_owned())
        })
        .unwrap();
        assert!(finished.status.success());
        assert!(seen.contains(&"process::tests::every_line_is_seen_and_kept: test".to_owned()));
        assert_eq!(Vec::from(finished.tail), seen);
    }

    #[test]
    fn a_failure_is_a_status_and_not_an_error() {
        let finished = run(myself("--no-such-option"), Show::Later, |_| {}).unwrap();
        assert!(!finished.status.success());
        assert!(
            finished
                .tail
                .iter()
                .any(|line| line.contains("no-such-option"))
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(Command::new("no-such-program"), Show::Later, |_| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`no-such-program` did not start"),
            "{error}"
        );
    }

    #[test]
    fn broken_bytes_do_not_stop_the_reading() {
        let mut seen = Vec::new();
        for_each_line(&b"one\r\n\xff\nlast"[..], |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "\u{fffd}", "last"]);
    }

    #[test]
    fn command_lines_quote_what_needs_it() {
        let mut command = Command::new("/toolchain/bin/cargo");
        command.args(["run", "--", "a b", ""]);
        assert_eq!(command_line(&command), r#"cargo run -- "a b" """#);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(605)), "10 min 05 s");
    }
}
