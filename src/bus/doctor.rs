//! What weakens the guarantees and is no error.

use tidings_transport::{Topology, TransportError};

use super::Bus;

impl Bus {
    /// Looks for what works and still keeps less than one may think (misuse 27): topics with one
    /// replica, a transport that ends with the process, a group that keeps no dead letters. Each
    /// finding is a sentence with its consequence; none at all is the good case. It asks the broker
    /// and changes nothing: for a check before a release, or a program's own start.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = tidings::Bus::builder("order-service").build().await?;
    /// for finding in bus.doctor().await? {
    ///     println!("{finding}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The transport's, such as `Missing` where a topic does not exist yet: ask after
    /// [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn doctor(&self) -> Result<Vec<String>, TransportError> {
        let core = self.core();
        let mut findings = Vec::new();
        if !core.capabilities.durable {
            findings.push(format!(
                "transport {} keeps everything in this process: what is queued is lost when it ends",
                core.transport.system()
            ));
        }
        let topology = self.topology();
        for group in &topology.groups {
            if group.dead_letters.is_none() {
                findings.push(format!(
                    "group {:?} keeps no dead letters: an event that cannot be handled is gone after \
                     one log line; leave out `.dead_letters(false)`",
                    group.name.as_str()
                ));
            }
        }
        findings.extend(core.transport.examine(&topology).await?);
        Ok(findings)
    }

    /// Everything that the handlers of this bus need.
    pub(super) fn topology(&self) -> Topology {
        let groups = self.registry().groups();
        Topology {
            topics: groups
                .iter()
                .flat_map(|group| group.all_topics().exact)
                .collect(),
            groups: groups
                .iter()
                .map(|group| group.topology(group.all_topics()))
                .collect(),
            declare: self.core().config.declare,
        }
    }
}
