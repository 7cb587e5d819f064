//! How a broker ends the consumers of a group: an administrator removes them.

#[path = "../kit/raw.rs"]
mod raw;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use tidings_conformance::Injected;
use tidings_transport::Name;

use super::failed;

/// Removes all members of a group. They learn of it by their next heartbeat.
pub(super) async fn remove_members(servers: &str, group: &Name) -> Injected {
    let (servers, group) = (servers.to_owned(), group.clone());
    let remove = move || {
        let members = members(&servers, &group).map_err(failed)?;
        if members.is_empty() {
            return Err(failed(format!("group {group} has no member to remove")));
        }
        for member in members {
            raw::expel(&servers, &group, &member);
        }
        Ok(())
    };
    tokio::task::spawn_blocking(remove).await.map_err(failed)?
}

fn members(servers: &str, group: &Name) -> Result<Vec<String>, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .create()?;
    let client = admin.inner();
    let found = client.fetch_group_list(Some(group), Duration::from_secs(10))?;
    let members = found.groups().iter().flat_map(|it| it.members());
    Ok(members.map(|it| it.id().to_owned()).collect())
}
