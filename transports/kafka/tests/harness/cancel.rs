//! How a broker ends the consumers of a group: an administrator removes them. The client library has
//! no call for that, so the one request is written by hand.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use tidings_conformance::Injected;
use tidings_transport::{Name, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failed;

/// LeaveGroup, in the last version that names one member.
///
/// Source: <https://kafka.apache.org/protocol#The_Messages_LeaveGroup>.
const LEAVE_GROUP: [u8; 4] = [0, 13, 0, 2];

/// Removes all members of a group. They learn of it by their next heartbeat.
pub(super) async fn remove_members(servers: &str, group: &Name) -> Injected {
    let members = members(servers.to_owned(), group.clone()).await?;
    if members.is_empty() {
        return Err(failed(format!("group {group} has no member to remove")));
    }
    let mut broker = TcpStream::connect(servers).await.map_err(failed)?;
    for member in members {
        broker
            .write_all(&request(group, &member))
            .await
            .map_err(failed)?;
        let length = broker.read_u32().await.map_err(failed)?;
        let mut answer = vec![0; length as usize];
        broker.read_exact(&mut answer).await.map_err(failed)?;
        // Correlation, throttle time, error.
        if answer.get(8..) != Some(&[0, 0]) {
            return Err(failed(format!(
                "LeaveGroup of {member} was answered by {answer:?}"
            )));
        }
    }
    Ok(())
}

async fn members(servers: String, group: Name) -> Result<Vec<String>, TransportError> {
    let ask = move || {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &servers).create()?;
        let client = admin.inner();
        let found = client.fetch_group_list(Some(&group), Duration::from_secs(10))?;
        let members = found.groups().iter().flat_map(|it| it.members());
        Ok(members.map(|it| it.id().to_owned()).collect())
    };
    let asked = tokio::task::spawn_blocking(ask).await.map_err(failed)?;
    asked.map_err(|error: rdkafka::error::KafkaError| failed(error))
}

fn request(group: &str, member: &str) -> Vec<u8> {
    let mut body = Vec::from(LEAVE_GROUP);
    body.extend([0, 0, 0, 1]);
    for text in ["tests", group, member] {
        // Names are far shorter than 32 KiB.
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.bytes());
    }
    let mut request = Vec::from((body.len() as u32).to_be_bytes());
    request.extend(body);
    request
}
