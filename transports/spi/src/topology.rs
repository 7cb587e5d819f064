use std::{fmt, str::FromStr};

use crate::{Name, PatternError, Timestamp};

/// Everything that must exist before groups consume.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Topics that are published to.
    pub topics: Vec<Name>,
    /// Groups that consume.
    pub groups: Vec<GroupTopology>,
    /// What to do about what is missing.
    pub declare: Declare,
}

/// A group as the transport sees it.
#[derive(Clone, Debug)]
pub struct GroupTopology {
    /// The group's name on the wire.
    pub name: Name,
    /// What it gets.
    pub topics: Topics,
    /// Whether order per key is promised; `false` lets members share one key.
    pub ordered: bool,
    /// Where a new group starts (D7).
    pub start: Start,
    /// Where its dead letters go, if it keeps any: a retained topic that can be browsed. A message
    /// there may replace an older one of its key.
    pub dead_letters: Option<Name>,
    /// How many messages may wait in its queue, if queues are the transport's; `None`: its default.
    pub queue: Option<usize>,
}

/// What [`Transport::declare`](crate::Transport::declare) does about what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Declare {
    /// Make it, and never alter what exists.
    #[default]
    Create,
    /// Fail when it is missing or otherwise.
    Verify,
    /// Ask nothing.
    Assume,
}

/// How a [`Consumer`](crate::Consumer) is opened.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The group's name on the wire.
    pub group: Name,
    /// What it gets.
    pub topics: Topics,
    /// Where a new group starts (D7); an existing group goes on where it was. What it put aside for a
    /// retry is its own: a topic of which [`is_retry_topic`] holds starts with its oldest message.
    pub start: Start,
    /// When a message counts as taken.
    pub mode: Mode,
    /// How many messages may be unsettled at once, per partition if there are any, else in all.
    pub window: usize,
    /// Whether order per key is promised.
    pub ordered: bool,
}

/// Where a new group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message still there.
    #[default]
    Earliest,
    /// With messages published from now on.
    Latest,
    /// With the first message at or after a moment.
    At(Timestamp),
    /// With the message at this offset of each partition; at the end of one that has no such offset yet.
    Offset(i64),
}

/// Whether a topic is one of the bus's own, `<group>.retry`, in which a group puts failed events aside.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.ends_with(".retry")
}

/// When a message counts as taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When it is acked: a crash repeats (D2).
    #[default]
    AtLeastOnce,
    /// Before it is handed over: a crash loses, and repeats nothing (D9).
    AtMostOnce,
    /// Never: this is a replay (Y1). [`Subscribe::group`] names its cursor and no group: none is
    /// made, joined or moved. It reads from [`Subscribe::start`] to what was there when it was opened,
    /// or to a moment before, and ends with [`Signal::End`](crate::Signal::End). While it is open
    /// [`Transport::lag`](crate::Transport::lag) of its name tells how far it is.
    Replay {
        /// Where it ends: with the first message at or after this.
        until: Option<Timestamp>,
    },
}

/// What a consumer gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Topics by name.
    pub exact: Vec<Name>,
    /// Topics by pattern, never the reserved ones.
    pub patterns: Vec<Pattern>,
}

impl Topics {
    /// Topics by name.
    pub fn exact<T: Into<Name>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            exact: topics.into_iter().map(Into::into).collect(),
            patterns: Vec::new(),
        }
    }

    /// Whether a topic is among them.
    pub fn contains(&self, topic: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(topic);
        self.exact.iter().any(|name| name == topic) || self.patterns.iter().any(matches)
    }
}

/// A pattern over topics, as AMQP topic exchanges have it: words parted by dots, `*` for one word,
/// `#` for any number of words, none included. The reserved topics of the bus, which end in `.dead`
/// and `.retry`, match no pattern; nor do those of a broker, which begin with `__`.
///
/// Source: <https://www.rabbitmq.com/tutorials/amqp-concepts>, topic exchanges.
///
/// ```
/// use tidings_transport::Pattern;
///
/// let pattern: Pattern = "order.*".parse()?;
/// assert!(pattern.matches("order.placed"));
/// assert!(!pattern.matches("order.placed.twice"));
/// assert!(!pattern.matches("order.dead"));
/// # Ok::<(), tidings_transport::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Name);

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic matches.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.ends_with(".dead") || is_retry_topic(topic) || topic.starts_with("__") {
            return false;
        }
        let words: Vec<&str> = topic.split('.').collect();
        // `reached[i]`: the pattern so far can match the first i words.
        let mut reached = vec![false; words.len() + 1];
        reached[0] = true;
        for part in self.0.split('.') {
            if part == "#" {
                let from_the_first = reached.iter_mut().skip_while(|yes| !**yes);
                from_the_first.for_each(|yes| *yes = true);
            } else {
                for at in (0..words.len()).rev() {
                    reached[at + 1] = reached[at] && (part == "*" || part == words[at]);
                }
                reached[0] = false;
            }
        }
        reached[words.len()]
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = |word: &str| !word.is_empty() && word.chars().all(letter);
        let word = |word| word == "*" || word == "#" || name(word);
        if text.len() <= 255 && text.split('.').all(word) {
            Ok(Self(Name::from(text)))
        } else {
            Err(PatternError(text.chars().take(255).collect()))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
