use crate::{Name, Start, Topics};

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
    /// Where its dead letters go, if it keeps any: a retained topic that can be browsed.
    pub dead_letters: Option<Name>,
    /// How many messages may wait in its queue, where queues belong to the transport; `None` is
    /// the transport's default.
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
