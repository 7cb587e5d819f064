use std::fmt;

// Each flag stands here once: its docs, its field, its variant and its name in messages.
macro_rules! capabilities {
    ($($(#[$doc:meta])+ $field:ident, $Variant:ident, $name:literal;)+) => {
        /// What a transport can do, flag by flag. The bus emulates what a handler asks for and a
        /// transport lacks, or refuses to start; it never does nothing in silence. The conformance
        /// suite proves each flag that is declared.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Capabilities {
            $($(#[$doc])+ pub $field: bool,)+
            /// The largest body, in bytes.
            pub max_size: usize,
        }

        /// The name of one flag of [`Capabilities`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Capability { $($(#[$doc])+ $Variant,)+ }

        impl Capabilities {
            /// Nothing but moving messages of up to `max_size` bytes.
            pub const fn none(max_size: usize) -> Self {
                Self { $($field: false,)+ max_size }
            }

            /// Whether the flag is declared.
            pub const fn has(&self, capability: Capability) -> bool {
                match capability { $(Capability::$Variant => self.$field,)+ }
            }
        }

        impl Capability {
            /// All flags, in the order they are documented.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$Variant),+];
        }

        impl fmt::Display for Capability {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$Variant => $name,)+ })
            }
        }
    };
}

capabilities! {
    /// Messages of one topic and key reach a group in the order of their publishes (P5).
    order, Order, "order";
    /// Several groups each get every message; members of one group share.
    groups, Groups, "groups";
    /// A message waits in its topic for groups that come later.
    retains, Retains, "retains";
    /// A group can be moved to an earlier position.
    replay, Replay, "replay";
    /// [`Message::delay`](crate::Message::delay) is honoured.
    delay, Delay, "delay";
    /// An Ok publish is confirmed by a broker.
    confirms, Confirms, "confirms";
    /// Publishes and acks can commit together.
    transactions, Transactions, "transactions";
    /// [`Origination::attempt`](crate::Origination::attempt) grows with each redelivery.
    attempt_count, AttemptCount, "attempt count";
    /// [`Transport::browse`](crate::Transport::browse) works.
    browse, Browse, "browse";
    /// [`Transport::lag`](crate::Transport::lag) works.
    lag, Lag, "lag";
    /// Messages outlive this process.
    durable, Durable, "durable";
}
