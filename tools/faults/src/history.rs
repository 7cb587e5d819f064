//! What a program did, in a file that survives it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One event, as producer and handlers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Event {
    /// What orders it: events of one key are handled in the order of their numbers.
    pub key: String,
    /// Which of its key it is; the next has a higher one.
    pub number: u64,
    /// The id under which it was published, by which copies are told apart from new events.
    pub id: String,
}

/// Where in a log an event lies, or how far a group has come there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The topic or queue.
    pub topic: String,
    /// Its part.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It begins.
    Invoke,
    /// It is done.
    Ok,
    /// It is not done, for sure.
    Fail,
    /// It may be done.
    Unknown,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "lowercase")]
pub enum Fact {
    /// A publish of an event.
    Emit {
        /// How far it is.
        state: State,
        /// The event; its id may be empty as long as it has none.
        #[serde(flatten)]
        event: Event,
        /// Where it lies, if the broker said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    /// A handler's attempt at an event.
    Handle {
        /// The handler's group.
        group: String,
        /// How far it is.
        state: State,
        /// The event.
        #[serde(flatten)]
        event: Event,
    },
    /// The event is final without having been handled: dead-lettered, or skipped by a rule.
    Dead {
        /// The group that gave it up.
        group: String,
        /// The event.
        #[serde(flatten)]
        event: Event,
    },
    /// The broker has noted that a group is done with everything before this offset.
    Committed {
        /// The group.
        group: String,
        /// The first that it is not done with.
        #[serde(flatten)]
        place: Place,
    },
}

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since 1970.
    pub at: u64,
    /// Who wrote it.
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// A history that this process adds to.
///
/// Each fact is one line of JSON, written by one call to the end of the file. What was written is
/// there whatever becomes of the process, and the lines of several processes are in the order of
/// their writing.
///
/// ```
/// use tidings_faults::{Event, Fact, History, State};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("history-doc-{}", std::process::id()));
/// let history = History::open(&path, "producer")?;
/// let event = Event { key: "k".into(), number: 0, id: "k-0".into() };
/// history.add(Fact::Emit { state: State::Invoke, event, place: None })?;
/// assert_eq!(History::read(&path)?.len(), 1);
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
    by: String,
}

impl History {
    /// Opens a history, or begins it; `by` names this process in its lines.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn open(path: impl AsRef<Path>, by: impl Into<String>) -> Result<Self, HistoryError> {
        let path = path.as_ref();
        let file = OpenOptions::new().append(true).create(true).open(path);
        Ok(Self {
            file: file.map_err(|error| HistoryError::new(path, "was not opened", error))?,
            path: path.to_owned(),
            by: by.into(),
        })
    }

    /// Adds a fact.
    ///
    /// # Errors
    ///
    /// It could not be written whole.
    pub fn add(&self, fact: Fact) -> Result<(), HistoryError> {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let entry = Entry {
            at: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            by: self.by.clone(),
            fact,
        };
        let failed = |error| HistoryError::new(&self.path, "was not written", error);
        let mut line = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        // One call, so that no other process writes amid it.
        match (&self.file).write(&line) {
            Ok(written) if written == line.len() => Ok(()),
            Ok(_) => Err(failed(io::ErrorKind::WriteZero.into())),
            Err(error) => Err(failed(error)),
        }
    }

    /// All entries of a history. A last line without an end is left out: its writer was killed.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a line that is no entry; the text says which.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Entry>, HistoryError> {
        let path = path.as_ref();
        let text = std::fs::read(path);
        let text = text.map_err(|error| HistoryError::new(path, "was not read", error))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(&[][..], |end| &text[..end]);
        let lines = whole.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty());
        lines
            .map(|(at, line)| {
                serde_json::from_slice(line).map_err(|error| {
                    HistoryError::new(
                        path,
                        &format!("has no entry in line {}", at + 1),
                        error.into(),
                    )
                })
            })
            .collect()
    }
}

/// A history that could not be read or written.
#[derive(Debug)]
pub struct HistoryError {
    text: String,
    source: io::Error,
}

impl HistoryError {
    fn new(path: &Path, what: &str, source: io::Error) -> Self {
        Self {
            text: format!("history {} {what}", path.display()),
            source,
        }
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tidings-history-{name}-{}", std::process::id()))
    }

    fn facts() -> Vec<Fact> {
        let event = Event {
            key: "a key\n".into(),
            number: u64::MAX,
            id: "i\t\"1\"".into(),
        };
        let place = Place {
            topic: "t".into(),
            partition: 2,
            offset: 9,
        };
        let group = String::from("g");
        vec![
            Fact::Emit {
                state: State::Ok,
                event: event.clone(),
                place: Some(place.clone()),
            },
            Fact::Handle {
                group: group.clone(),
                state: State::Unknown,
                event: event.clone(),
            },
            Fact::Dead {
                group: group.clone(),
                event,
            },
            Fact::Committed { group, place },
        ]
    }

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let path = path("whole");
        let (one, other) = (History::open(&path, "one"), History::open(&path, "other"));
        let both = [one.expect("a file"), other.expect("a file")];
        for (at, fact) in facts().into_iter().enumerate() {
            both[at % 2].add(fact).expect("it is written");
        }
        let entries = History::read(&path).expect("it is read");
        let read: Vec<Fact> = entries.iter().map(|entry| entry.fact.clone()).collect();
        assert_eq!(read, facts());
        let by: Vec<&str> = entries.iter().map(|entry| entry.by.as_str()).collect();
        assert_eq!(by, ["one", "other", "one", "other"]);
        assert!(entries.is_sorted_by_key(|entry| entry.at));
        std::fs::remove_file(path).expect("a file");
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_any_other_is_named() {
        let path = path("torn");
        let history = History::open(&path, "one").expect("a file");
        history.add(facts().remove(3)).expect("it is written");
        (&history.file)
            .write_all(b"{\"at\":1,\"by\"")
            .expect("it is written");
        assert_eq!(History::read(&path).expect("it is read").len(), 1);
        (&history.file).write_all(b"\n").expect("it is written");
        let error = History::read(&path).expect_err("a line is no entry");
        assert!(error.to_string().ends_with("in line 2"), "{error}");
        std::fs::remove_file(path).expect("a file");
    }
}
