//! How far groups are behind.

use tidings_transport::{Lag, Name, TransportError};

use super::Bus;

/// How far one group is behind in one partition: see [`Bus::lag`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupLag {
    /// The group's name on the wire.
    pub group: Name,
    /// The topic; empty where one queue holds all topics of the group, as in memory.
    pub topic: Name,
    /// The partition; 0 where there are none.
    pub partition: i32,
    /// How many events have been published for the group so far; on Kafka the end of the partition.
    pub end: u64,
    /// How many of them are final.
    pub settled: u64,
}

impl GroupLag {
    /// Events that are not final yet.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.end.saturating_sub(self.settled)
    }
}

impl Bus {
    /// How far the groups of this bus are behind, per topic and partition. It asks the broker each
    /// time: once in some seconds is often enough.
    ///
    /// Over a broker the figures are those of the whole group, other processes included.
    ///
    /// ```
    /// # use tidings::Bus;
    /// # async fn demo(bus: &Bus) -> Result<(), tidings::TransportError> {
    /// let behind: u64 = bus.lag().await?.iter().map(tidings::GroupLag::behind).sum();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Unsupported` where the transport cannot tell; else the connection's.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lag(&self) -> Result<Vec<GroupLag>, TransportError> {
        let mut lags = Vec::new();
        for group in self.registry().groups() {
            let name = &group.core.name;
            let of = self.core().transport.lag(name).await?;
            lags.extend(of.into_iter().map(|lag| {
                let Lag {
                    topic,
                    partition,
                    end,
                    settled,
                } = lag;
                GroupLag {
                    group: name.clone(),
                    topic,
                    partition,
                    end,
                    settled,
                }
            }));
        }
        Ok(lags)
    }
}
