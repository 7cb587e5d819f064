use crate::{Name, Pattern, Timestamp};

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
    #[must_use]
    pub fn contains(&self, topic: &str) -> bool {
        self.exact.iter().any(|name| name == topic)
            || self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

/// How a [`Consumer`](crate::Consumer) is opened.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The group's name on the wire.
    pub group: Name,
    /// What it gets.
    pub topics: Topics,
    /// Where a new group starts (D7); an existing group goes on where it was.
    pub start: Start,
    /// When a message counts as taken.
    pub mode: Mode,
    /// How many messages may be unsettled at once: per partition where the transport has
    /// partitions, else per consumer.
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
}

/// When a message counts as taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When it is acked: a crash repeats (D2).
    #[default]
    AtLeastOnce,
    /// Before it is handed over: a crash loses, and repeats nothing (D9).
    AtMostOnce,
}
