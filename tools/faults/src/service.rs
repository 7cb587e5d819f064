//! A server that somebody else started and that a test may stop, kill and start again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::{ProcessError, pid};

/// How often a state is looked at that nobody reports.
const GLANCE: Duration = Duration::from_millis(20);

/// A server with a folder of its own.
///
/// Three files in the folder say all that is needed: `pid`, the process; `log`, what it prints; and
/// `start`, whose first line is what the log says when it is ready, and whose other lines are the
/// command, one argument each. `cargo xtask brokers up` leaves such a folder, and its `down` ends
/// whatever process `pid` names by then.
///
/// Two tests that stop one service at once disturb each other: run them one after the other.
#[derive(Debug)]
pub struct Service {
    folder: PathBuf,
    ready: String,
    command: Vec<String>,
}

impl Service {
    /// The service of this folder.
    ///
    /// # Errors
    ///
    /// `start` cannot be read, or has no command.
    pub fn at(folder: impl AsRef<Path>) -> Result<Self, ProcessError> {
        let folder = folder.as_ref().to_owned();
        let path = folder.join("start");
        let text = fs::read_to_string(&path).map_err(|error| read_error(&path, error))?;
        let mut lines = text.lines().map(str::to_owned);
        let ready = lines.next().unwrap_or_default();
        let command: Vec<String> = lines.collect();
        if ready.is_empty() || command.is_empty() {
            return Err(ProcessError::new(
                &path.display().to_string(),
                "has no line that says when it is ready, or no command",
                None,
            ));
        }
        Ok(Self {
            folder,
            ready,
            command,
        })
    }

    /// The process that runs or ran last.
    ///
    /// # Errors
    ///
    /// The file `pid` cannot be read.
    pub fn id(&self) -> Result<u32, ProcessError> {
        let path = self.folder.join("pid");
        let text = fs::read_to_string(&path).map_err(|error| read_error(&path, error))?;
        text.trim().parse().map_err(|_| {
            let what = format!("has {text:?}, which is no process");
            ProcessError::new(&path.display().to_string(), &what, None)
        })
    }

    /// Whether its process lives.
    ///
    /// # Errors
    ///
    /// As [`id`](Self::id).
    pub fn runs(&self) -> Result<bool, ProcessError> {
        // One that has ended and that nobody waited for yet has an empty command line.
        let called = fs::read(format!("/proc/{}/cmdline", self.id()?)).unwrap_or_default();
        let called = String::from_utf8_lossy(&called);
        // The number may be another program's by now.
        Ok(self
            .command
            .last()
            .is_some_and(|last| called.contains(last.as_str())))
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    ///
    /// It does not run, or lives on after this time.
    pub async fn stop(&self, patience: Duration) -> Result<(), ProcessError> {
        self.end(Signal::TERM, patience).await
    }

    /// Ends it at once (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop).
    pub async fn kill(&self, patience: Duration) -> Result<(), ProcessError> {
        self.end(Signal::KILL, patience).await
    }

    /// Stops it where it is (SIGSTOP).
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after a pause (SIGCONT).
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Starts it, unless it runs, and waits until its log says that it is ready. It outlives this
    /// process.
    ///
    /// # Errors
    ///
    /// It does not start, ends at once, or is not ready after this time.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(&self, patience: Duration) -> Result<(), ProcessError> {
        if self.runs()? {
            return Ok(());
        }
        let log = self.folder.join("log");
        let failed = |what: &str, error| ProcessError::new(&self.name(), what, Some(error));
        let open = fs::OpenOptions::new().append(true).create(true).open(&log);
        let output = open.map_err(|error| failed("has no log", error))?;
        let again = output.try_clone();
        let again = again.map_err(|error| failed("has no log", error))?;
        let from = output.metadata().map_or(0, |it| it.len()) as usize;
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            // An interrupt of the test is none of the server.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(again);
        let mut child = command
            .spawn()
            .map_err(|error| failed("did not start", error))?;
        if let Some(id) = child.id() {
            let noted = fs::write(self.folder.join("pid"), id.to_string());
            noted.map_err(|error| failed("could not be noted in `pid`", error))?;
        }
        let until = Instant::now() + patience;
        loop {
            let text = fs::read(&log).unwrap_or_default();
            let new = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
            if new.contains(&self.ready) {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.error(&format!("ended with {status}: {}", last(&new))));
            }
            if Instant::now() >= until {
                let what = format!("is not ready within {patience:?}: {}", last(&new));
                return Err(self.error(&what));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn end(&self, signal: Signal, patience: Duration) -> Result<(), ProcessError> {
        self.signal(signal)?;
        let until = Instant::now() + patience;
        while self.runs()? {
            if Instant::now() >= until {
                return Err(self.error(&format!("did not end within {patience:?}")));
            }
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        if !self.runs()? {
            return Err(self.error("does not run"));
        }
        let id = pid(self.id()?).ok_or_else(|| self.error("has no process"))?;
        kill_process(id, signal)
            .map_err(|error| ProcessError::new(&self.name(), "took no signal", Some(error.into())))
    }

    fn name(&self) -> String {
        format!("service {}", self.folder.display())
    }

    fn error(&self, what: &str) -> ProcessError {
        ProcessError::new(&self.name(), what, None)
    }
}

fn read_error(path: &Path, error: io::Error) -> ProcessError {
    ProcessError::new(&path.display().to_string(), "was not read", Some(error))
}

fn last(text: &str) -> &str {
    let end = text.trim_end();
    end.rsplit('\n').next().unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn service(name: &str, script: &str) -> (PathBuf, Service) {
        let folder =
            std::env::temp_dir().join(format!("tidings-faults-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let start = format!("ready now\nsh\n-c\n{script}\nmark-{name}\n");
        fs::write(folder.join("start"), start).expect("a file");
        // No process has this number.
        fs::write(folder.join("pid"), "4294967").expect("a file");
        let service = Service::at(&folder).expect("a service");
        (folder, service)
    }

    #[tokio::test]
    async fn a_service_is_stopped_killed_and_started_again() {
        let script = "echo ready now; while :; do sleep 0.01; done";
        let (folder, service) = service("again", script);
        assert!(!service.runs().expect("a pid"));
        let error = service.kill(PATIENCE).await.expect_err("it does not run");
        assert!(error.to_string().ends_with("does not run"), "{error}");
        service.start(PATIENCE).await.expect("it starts");
        let first = service.id().expect("a pid");
        service.start(PATIENCE).await.expect("it runs already");
        assert_eq!(service.id().expect("a pid"), first);
        service.kill(PATIENCE).await.expect("it is killed");
        service.start(PATIENCE).await.expect("it starts anew");
        assert_ne!(service.id().expect("a pid"), first);
        service.stop(PATIENCE).await.expect("it ends");
        fs::remove_dir_all(folder).expect("a folder");
    }

    #[tokio::test]
    async fn a_service_that_ends_at_once_says_why() {
        let (folder, service) = service("ends", "echo the port is taken; exit 3");
        let error = service.start(PATIENCE).await.expect_err("it ends");
        let text = error.to_string();
        assert!(text.contains("exit status: 3: the port is taken"), "{text}");
        fs::remove_dir_all(folder).expect("a folder");
    }
}
