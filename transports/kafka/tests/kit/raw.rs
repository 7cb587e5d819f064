//! Two requests of Kafka's protocol that rdkafka has no call for, written out.
//!
//! Source: <https://kafka.apache.org/protocol>.
#![allow(dead_code, reason = "no test target uses both")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;

/// What an access rule is about.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
}

/// Takes every right to a resource from a user. Asked by one who may: whoever comes in plain text.
pub(crate) fn deny(broker: &str, user: &str, resource: Resource<'_>) {
    const LITERAL: u8 = 3;
    const ALL: u8 = 2;
    const DENY: u8 = 2;
    let (kind, name) = match resource {
        Resource::Topic(name) => (2, name),
        Resource::Group(name) => (3, name),
    };
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    body.push(kind);
    text(&mut body, name);
    body.push(LITERAL);
    text(&mut body, &format!("User:{user}"));
    text(&mut body, "*");
    body.extend([ALL, DENY]);
    // CreateAcls: the time that it was held back, one result, its code.
    let answer = call(broker, 30, 1, &body);
    assert_eq!(answer[4..10], [0, 0, 0, 1, 0, 0], "{answer:?}");
}

/// Takes a member out of its group, as the group's coordinator does with one that is silent.
pub(crate) fn expel(broker: &str, group: &str, member: &str) {
    let mut body = Vec::new();
    text(&mut body, group);
    text(&mut body, member);
    // LeaveGroup: the time that it was held back, a code.
    let answer = call(broker, 13, 2, &body);
    assert_eq!(answer[4..6], [0, 0], "{answer:?}");
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    to.extend(text.as_bytes());
}

/// Sends a request with a header of version 1, and gives back the body of the answer.
fn call(broker: &str, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    const CORRELATION: i32 = 7;
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    text(&mut request, "tidings-tests");
    request.extend(body);
    let mut broker = TcpStream::connect(broker).unwrap();
    let size = i32::try_from(request.len()).unwrap();
    broker.write_all(&size.to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut size = [0; 4];
    broker.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
    broker.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], CORRELATION.to_be_bytes());
    answer.split_off(4)
}
