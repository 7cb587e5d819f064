//! How far groups are behind.

use tidings_transport::{Lag, Name, TransportError};

use super::Bus;

/// How far one group is behind in one partition: see [`Bus::lag`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupLag {
    /// The group's name on the wire.
    pub group: Name,
    /// Where, and how far.
    pub lag: Lag,
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
    /// let behind: u64 = bus.lag().await?.iter().map(|of| of.lag.behind()).sum();
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
            lags.extend(of.into_iter().map(|lag| GroupLag {
                group: name.clone(),
                lag,
            }));
        }
        Ok(lags)
    }
}
