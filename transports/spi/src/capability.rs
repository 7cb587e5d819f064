use std::fmt;

/// What a transport can do, flag by flag.
///
/// The bus emulates what a handler asks for and a transport lacks, or refuses to start; it never
/// does nothing in silence. The conformance suite proves each flag that is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Messages of one topic and key reach a group in the order of their publishes (P5).
    pub order: bool,
    /// Several groups each get every message; members of one group share.
    pub groups: bool,
    /// A message waits in its topic for groups that come later.
    pub retains: bool,
    /// A group can be moved to an earlier position.
    pub replay: bool,
    /// [`Message::delay`](crate::Message::delay) is honoured.
    pub delay: bool,
    /// An Ok publish is confirmed by a broker.
    pub confirms: bool,
    /// Publishes and acks can commit together.
    pub transactions: bool,
    /// [`Inbound::attempt`](crate::Inbound::attempt) grows with each redelivery.
    pub attempt_count: bool,
    /// [`Transport::browse`](crate::Transport::browse) works.
    pub browse: bool,
    /// [`Transport::lag`](crate::Transport::lag) works.
    pub lag: bool,
    /// Messages outlive this process.
    pub durable: bool,
    /// The largest body, in bytes.
    pub max_size: usize,
}

impl Capabilities {
    /// Nothing but moving messages of up to `max_size` bytes.
    #[must_use]
    pub const fn none(max_size: usize) -> Self {
        Self {
            order: false,
            groups: false,
            retains: false,
            replay: false,
            delay: false,
            confirms: false,
            transactions: false,
            attempt_count: false,
            browse: false,
            lag: false,
            durable: false,
            max_size,
        }
    }

    /// Whether the flag is declared.
    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Order => self.order,
            Capability::Groups => self.groups,
            Capability::Retains => self.retains,
            Capability::Replay => self.replay,
            Capability::Delay => self.delay,
            Capability::Confirms => self.confirms,
            Capability::Transactions => self.transactions,
            Capability::AttemptCount => self.attempt_count,
            Capability::Browse => self.browse,
            Capability::Lag => self.lag,
            Capability::Durable => self.durable,
        }
    }
}

/// The name of one flag of [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// [`Capabilities::order`].
    Order,
    /// [`Capabilities::groups`].
    Groups,
    /// [`Capabilities::retains`].
    Retains,
    /// [`Capabilities::replay`].
    Replay,
    /// [`Capabilities::delay`].
    Delay,
    /// [`Capabilities::confirms`].
    Confirms,
    /// [`Capabilities::transactions`].
    Transactions,
    /// [`Capabilities::attempt_count`].
    AttemptCount,
    /// [`Capabilities::browse`].
    Browse,
    /// [`Capabilities::lag`].
    Lag,
    /// [`Capabilities::durable`].
    Durable,
}

impl Capability {
    /// All flags, in the order they are documented.
    pub const ALL: [Self; 11] = [
        Self::Order,
        Self::Groups,
        Self::Retains,
        Self::Replay,
        Self::Delay,
        Self::Confirms,
        Self::Transactions,
        Self::AttemptCount,
        Self::Browse,
        Self::Lag,
        Self::Durable,
    ];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Order => "order",
            Self::Groups => "groups",
            Self::Retains => "retains",
            Self::Replay => "replay",
            Self::Delay => "delay",
            Self::Confirms => "confirms",
            Self::Transactions => "transactions",
            Self::AttemptCount => "attempt count",
            Self::Browse => "browse",
            Self::Lag => "lag",
            Self::Durable => "durable",
        })
    }
}
