//! The errors of this transport, and what becomes of librdkafka's, each in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tidings_transport::{ErrorKind, PublishError, Reason, TransportError};

pub(crate) fn config(text: impl Into<String>) -> TransportError {
    TransportError::new(ErrorKind::Config, text)
}

pub(crate) fn closed() -> TransportError {
    TransportError::new(
        ErrorKind::Closed,
        "the Kafka transport is closed: open another",
    )
}

pub(crate) fn timeout(text: impl Into<String>) -> TransportError {
    TransportError::new(ErrorKind::Timeout, text)
}

/// An error of the client library, met while doing something.
pub(crate) fn transport(doing: &str, error: KafkaError) -> TransportError {
    let code = error.rdkafka_error_code();
    let kind = code.map_or(ErrorKind::Other, kind);
    let text = match kind {
        _ if code == Some(Code::InconsistentGroupProtocol) => format!(
            "{doing}: its other members assign partitions in another way, and all of a group need \
             the same, here cooperative-sticky; see \"Moving a group\" in docs/operations.md"
        ),
        ErrorKind::Forbidden => format!("{doing}: not allowed; give the user the right to"),
        ErrorKind::Auth => format!("{doing}: the credentials were refused"),
        _ => doing.to_owned(),
    };
    TransportError::new(kind, format!("{text}: {error}")).with_source(error)
}

/// A broker's answer about one topic or partition.
pub(crate) fn answer(doing: &str, code: Code) -> TransportError {
    transport(doing, KafkaError::Global(code))
}

/// What librdkafka cannot tell from a certificate of an unknown authority.
pub(crate) const ANOTHER_HOST: &str =
    "the certificate is for another host name; connect by a name that it has: ";

/// A listener in plain text takes the beginning of a handshake for a request that makes no sense, and
/// hangs up, sometimes without a word; so does a broker that is just going down.
pub(crate) const AMID_HANDSHAKE: &str =
    "the port hung up on the TLS handshake: it speaks plain text, or its broker is going down: ";

/// What is wrong with a connection that was refused, in words that name the fix.
pub(crate) fn fix(code: Code, reason: &str) -> &'static str {
    let says = |part: &str| reason.to_ascii_lowercase().contains(part);
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the user or password is wrong, or the mechanism is not enabled: "
        }
        Code::SSL if says("certificate verify failed") => {
            "the certificate is not trusted; name its authority's file by `Tls::ca_file`: "
        }
        _ if says("wrong version number") || says("plaintext broker listener") => {
            "the port speaks plain text: "
        }
        _ if says("closed by peer") && says("ssl_handshake") => AMID_HANDSHAKE,
        _ => "",
    }
}

pub(crate) fn kind(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::NodeUpdate => ErrorKind::Connection,
        Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue => ErrorKind::Timeout,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL => ErrorKind::Auth,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Forbidden,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::GroupIdNotFound => ErrorKind::Missing,
        Code::TopicAlreadyExists => ErrorKind::Conflict,
        Code::QueueFull => ErrorKind::Full,
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => ErrorKind::DataLoss,
        Code::FencedInstanceId | Code::ProducerFenced | Code::Fenced => ErrorKind::Fenced,
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidArgument
        | Code::PolicyViolation
        | Code::InconsistentGroupProtocol
        | Code::InvalidSessionTimeout => ErrorKind::Config,
        _ => ErrorKind::Other,
    }
}

/// A publish that librdkafka refused to take: nothing was sent.
pub(crate) fn not_taken(topic: &str, error: KafkaError) -> PublishError {
    let code = error.rdkafka_error_code();
    match code {
        Some(code) if kind(code) == ErrorKind::Missing => {
            PublishError::not_published(missing(topic, code))
        }
        Some(Code::MessageSizeTooLarge) => PublishError::not_published(Reason::Invalid(
            "key, headers and body together are over the producer's `message.max.bytes`".into(),
        )),
        _ => PublishError::not_published(transport("Kafka's client refused the event", error)),
    }
}

/// A topic that no broker knows, or one that has fewer partitions than it had.
fn missing(topic: &str, code: Code) -> TransportError {
    let doing = format!("publishing to topic {topic:?}: it does not exist: declare or create it");
    answer(&doing, code)
}

/// A delivery report that is not Ok (P1): Unknown, unless it proves that nothing was written.
pub(crate) fn not_delivered(topic: &str, code: Code) -> PublishError {
    let reason = match code {
        Code::PurgeQueue => return PublishError::not_published(Reason::Closed),
        Code::PurgeInflight => Reason::Closed,
        Code::MessageTimedOut => Reason::Timeout,
        _ if kind(code) == ErrorKind::Missing => Reason::Transport(missing(topic, code)),
        _ => Reason::Transport(answer(&format!("publishing to topic {topic:?}"), code)),
    };
    // What a broker answers when it has checked a request and written nothing.
    let refused = matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTopic
            | Code::InvalidTimestamp
            | Code::InvalidMessage
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::NotEnoughReplicas
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
            | Code::QueueFull
    );
    if refused {
        PublishError::not_published(reason)
    } else {
        PublishError::unknown(reason)
    }
}

/// Whether librdkafka goes on by itself after this.
pub(crate) fn passes(code: Code) -> bool {
    matches!(
        kind(code),
        ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Other
    )
}
