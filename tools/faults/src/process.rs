//! The program under test as a child process.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Lines of a child that are kept for who waits for one.
const KEPT: usize = 1_024;

/// A child process, killed when it is dropped.
///
/// ```
/// use std::time::Duration;
///
/// use tidings_faults::Process;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut shell = Command::new("sh");
/// shell.args(["-c", "echo ready; exec sleep 60"]);
/// let mut child = Process::start(shell)?;
/// child.line("ready", Duration::from_secs(10)).await?;
/// child.kill()?;
/// assert!(!child.ended(Duration::from_secs(10)).await?.success());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Process {
    line: String,
    child: Child,
    lines: watch::Receiver<Lines>,
    // Lines up to here were waited for.
    seen: u64,
}

/// What a child printed last.
#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    // The number of the first that is kept.
    first: u64,
    ended: bool,
}

impl Process {
    /// Starts a program; its standard output is read, all else is as the command says.
    ///
    /// # Errors
    ///
    /// The program cannot be started; the text names it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(mut command: Command) -> Result<Self, ProcessError> {
        let line = format!("{:?}", command.as_std());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let failed = |what: &str, source| ProcessError::new(&line, what, Some(source));
        let mut child = command
            .spawn()
            .map_err(|error| failed("did not start", error))?;
        let (sender, lines) = watch::channel(Lines::default());
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output).lines();
            // Ends with the output.
            tokio::spawn(async move {
                while let Ok(Some(line)) = output.next_line().await {
                    sender.send_modify(|lines| lines.add(line));
                }
                sender.send_modify(|lines| lines.ended = true);
            });
        }
        Ok(Self {
            line,
            child,
            lines,
            seen: 0,
        })
    }

    /// The next line with this in it, after those that were waited for before.
    ///
    /// # Errors
    ///
    /// None came in this time, or the program has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no line.
    pub async fn line(&mut self, part: &str, patience: Duration) -> Result<String, ProcessError> {
        let mut lines = self.lines.clone();
        let mut found = None;
        let waited = lines.wait_for(|lines| {
            found = lines.find(part, self.seen);
            found.is_some() || lines.ended
        });
        let timely = tokio::time::timeout(patience, waited).await.is_ok();
        match found {
            Some((number, line)) => {
                self.seen = number + 1;
                Ok(line)
            }
            None if timely => Err(self.error(&format!("ended without a line with {part:?}"))),
            None => Err(self.error(&format!(
                "printed no line with {part:?} within {patience:?}"
            ))),
        }
    }

    /// The process id, until it has ended and was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Ends it at once (SIGKILL): it runs no code any more.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.signal(Signal::KILL)
    }

    /// Stops it where it is (SIGSTOP), until it is continued.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after a pause (SIGCONT).
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// It lives on after this time.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped and made anew.
    pub async fn ended(&mut self, patience: Duration) -> Result<ExitStatus, ProcessError> {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(ProcessError::new(
                &self.line,
                "could not be waited for",
                Some(error),
            )),
            Err(_) => Err(self.error(&format!("did not end within {patience:?}"))),
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        // Not waited for yet, so the number is still its own.
        let id = self.child.id().and_then(pid);
        let id = id.ok_or_else(|| self.error("has ended"))?;
        kill_process(id, signal)
            .map_err(|error| ProcessError::new(&self.line, "took no signal", Some(error.into())))
    }

    fn error(&self, what: &str) -> ProcessError {
        ProcessError::new(&self.line, what, None)
    }
}

pub(crate) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

impl Lines {
    fn add(&mut self, line: String) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(line);
    }

    fn find(&self, part: &str, seen: u64) -> Option<(u64, String)> {
        let numbered = (self.first..).zip(&self.kept);
        let mut new = numbered.filter(|(number, _)| *number >= seen);
        new.find(|(_, line)| line.contains(part))
            .map(|(number, line)| (number, line.clone()))
    }
}

/// What a program did not do.
#[derive(Debug)]
pub struct ProcessError {
    text: String,
    source: Option<io::Error>,
}

impl ProcessError {
    pub(crate) fn new(program: &str, what: &str, source: Option<io::Error>) -> Self {
        Self {
            text: format!("`{program}` {what}"),
            source,
        }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command).expect("there is a shell")
    }

    #[tokio::test]
    async fn lines_are_waited_for_one_after_the_other() {
        let mut child = shell("echo one; echo two; echo one more");
        assert_eq!(child.line("one", PATIENCE).await.expect("a line"), "one");
        assert_eq!(
            child.line("one", PATIENCE).await.expect("a line"),
            "one more"
        );
        let error = child.line("one", PATIENCE).await.expect_err("no third");
        assert!(
            error.to_string().contains("ended without a line"),
            "{error}"
        );
        assert!(child.ended(PATIENCE).await.expect("it ends").success());
        let error = child.kill().expect_err("it has ended");
        assert!(error.to_string().ends_with("has ended"), "{error}");
    }

    #[tokio::test]
    async fn a_paused_program_does_nothing_until_it_goes_on() {
        let mut child =
            shell("trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.01; done");
        child.line("up", PATIENCE).await.expect("it runs");
        child.pause().expect("it runs");
        child.terminate().expect("it is there");
        let short = Duration::from_millis(200);
        let error = child.line("told", short).await.expect_err("it is paused");
        assert!(error.to_string().contains("within 200ms"), "{error}");
        child.resume().expect("it is there");
        child.line("told", PATIENCE).await.expect("it goes on");
        assert!(child.ended(PATIENCE).await.expect("it ends").success());
    }

    #[tokio::test]
    async fn a_dropped_program_is_killed() {
        let mut child = shell("echo up; exec sleep 600");
        child.line("up", PATIENCE).await.expect("it runs");
        let id = child.id().expect("it runs");
        drop(child);
        let runs = || std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|it| !it.is_empty());
        tokio::time::timeout(PATIENCE, async {
            while runs() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is killed");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Process::start(Command::new("no-such-program")).expect_err("there is none");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
