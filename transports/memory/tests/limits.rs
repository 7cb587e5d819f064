//! What is refused before anything happens (P6), the settings, and the forced encoding.

mod support;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::*;
use tidings_memory::{Memory, MemoryConfig};
use tidings_transport::{
    Carried, Encode, EncodeError, Encoded, Encoder, Envelope, ErrorKind, EventId, HeaderError,
    Headers, Local, Message, Name, Origin, Payload, PublishError, Reason, Topology, Transport,
    TryPublish, field,
};

async fn refused(memory: &Memory, message: Message) -> PublishError {
    let at_once = refusal(memory, message.clone(), &Origin::default());
    let waited = memory
        .publish(message, Origin::default())
        .await
        .expect_err("refused as well");
    assert!(!at_once.is_unknown() && !waited.is_unknown());
    assert_eq!(at_once.reason().to_string(), waited.reason().to_string());
    let (end, _) = lag(memory, "g").await;
    assert_eq!(end, 0, "no consumer ever sees it");
    waited
}

fn attached(memory: Memory) -> Memory {
    memory.attach(&group("g", &["t"], 8)).expect("new");
    memory
}

#[tokio::test]
async fn row_34_a_payload_over_the_limit_is_too_large() {
    let memory = attached(Memory::new());
    assert_eq!(memory.capabilities().max_size, 1024 * 1024);
    let sized = |size| Message {
        payload: Payload::Bytes(vec![0; size].into()),
        ..message("t", None, 0)
    };
    let error = refused(&memory, sized(1024 * 1024 + 1)).await;
    let Reason::TooLarge { size, limit } = *error.reason() else {
        panic!("{error:?}")
    };
    assert_eq!((size, limit), (1_048_577, 1_048_576));
    put(&memory, sized(1024 * 1024));
    put(&memory, sized(0));
}

#[tokio::test]
async fn row_35_headers_that_no_transport_carries_are_refused() {
    let memory = attached(Memory::new());
    let with = |name: &str, value: &[u8]| {
        let mut message = message("t", None, 0);
        message.headers.push(name, value.to_vec());
        message
    };
    let long = "n".repeat(256);
    for name in ["", "a\rb", "a\nb", "a\0b", &long] {
        let error = refused(&memory, with(name, b"v")).await;
        assert!(
            matches!(error.reason(), Reason::Header(HeaderError::Name(found)) if *found == *name),
            "{error:?}"
        );
    }
    let error = refused(&memory, with("h", &[0; 16 * 1024])).await;
    let Reason::Header(HeaderError::TooLarge { size, limit }) = *error.reason() else {
        panic!("{error:?}")
    };
    assert_eq!((size, limit), (16 * 1024 + 1, 16 * 1024));
    let mut raw = message("t", None, 0);
    raw.envelope = Carried::Raw(
        [("id".into(), Bytes::from(vec![0; 17_000]))]
            .into_iter()
            .collect(),
    );
    assert!(matches!(
        refused(&memory, raw).await.reason(),
        Reason::Header(_)
    ));
    put(&memory, with("h", &[0xff; 1_000]));
}

#[tokio::test]
async fn row_38_an_empty_key_is_not_none_and_a_long_one_is_refused() {
    let memory = attached(Memory::new());
    let keyed = |key: Vec<u8>| Message {
        key: Some(key.into()),
        ..message("t", None, 0)
    };
    let error = refused(&memory, keyed(vec![0; 1024 * 1024])).await;
    let Reason::Invalid(text) = error.reason() else {
        panic!("{error:?}")
    };
    assert!(text.contains("1048576") && text.contains("16384"), "{text}");
    for key in [&b""[..], b"a\0b"] {
        put(&memory, keyed(key.to_vec()));
    }
    put(&memory, message("t", None, 0));
    let batch = take(&mut open(&memory, "g").await, 9).await;
    let keys: Vec<_> = batch
        .iter()
        .map(|received| received.key.as_deref())
        .collect();
    assert_eq!(keys, [Some(&b""[..]), Some(b"a\0b"), None]);
}

#[tokio::test]
async fn settings_of_zero_are_named_all_at_once_and_never_panic() {
    let mut config = MemoryConfig::default();
    assert!(config.check().is_ok());
    (config.queue, config.max_payload) = (0, 0);
    let error = Memory::with_config(config).expect_err("two are wrong");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("queue is 0"), "{error}");
    assert!(error.to_string().contains("max_payload is 0"), "{error}");

    type Set = fn(Memory) -> Memory;
    let settings: [(&str, Set); 5] = [
        ("queue", |memory| memory.queue(0)),
        ("dead_letters", |memory| memory.dead_letters(0)),
        ("publish_deadline", |memory| {
            memory.publish_deadline(Duration::ZERO)
        }),
        ("max_payload", |memory| memory.max_payload(0)),
        ("max_headers", |memory| memory.max_headers(0)),
    ];
    for (setting, set) in settings {
        let memory = set(Memory::new());
        let wanted = format!("{setting} is 0");
        let errors = [
            memory.check().expect_err(setting),
            memory.attach(&group("g", &["t"], 8)).expect_err(setting),
            memory
                .declare(&Topology::default())
                .await
                .expect_err(setting),
            memory.subscribe(subscribe("g")).await.expect_err(setting),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(&wanted), "{error}");
        }
        let error = refusal(&memory, message("t", None, 0), &Origin::default());
        assert!(error.reason().to_string().contains(&wanted), "{error:?}");
        assert!(!error.is_unknown());
    }
    assert!(
        Memory::new().spill(0).check().is_ok(),
        "no spill is a choice"
    );
}

/// Encodes a number as text, and refuses 13.
struct Decimal;

impl Encode for Decimal {
    fn encode(
        &self,
        value: &(dyn Any + Send + Sync),
        envelope: &Envelope,
    ) -> Result<Encoded, EncodeError> {
        match value.downcast_ref::<u64>() {
            Some(13) => Err(EncodeError::new("13 has no encoding")),
            Some(value) => Ok(Encoded {
                fields: envelope.to_fields(),
                body: value.to_string().into(),
            }),
            None => Err(EncodeError::new("not a number")),
        }
    }
}

fn local(value: u64) -> Message {
    let envelope = Envelope::new(
        EventId::from("id-1"),
        Name::from("number"),
        2,
        Name::from("test"),
    );
    Message {
        envelope: Carried::Local(envelope),
        payload: Payload::Local(Local {
            value: Arc::new(value),
            encoder: Encoder::new(Decimal),
        }),
        ..message("t", Some("k"), 0)
    }
}

#[tokio::test]
async fn values_are_moved_unless_encoding_is_forced() {
    let memory = attached(Memory::new());
    put(&memory, local(7));
    let batch = take(&mut open(&memory, "g").await, 9).await;
    assert!(matches!(&batch[0].payload, Payload::Local(local) if local.value.is::<u64>()));
    assert!(batch[0].envelope.local().is_some());

    let memory = attached(Memory::new().encoded(true));
    put(&memory, local(7));
    memory
        .publish(local(8), Origin::default())
        .await
        .expect("room");
    let batch = take(&mut open(&memory, "g").await, 9).await;
    assert_eq!(numbers(&batch), [7, 8]);
    let Carried::Raw(fields) = &batch[0].envelope else {
        panic!("still typed")
    };
    assert_eq!(fields.get_str(field::ID), Some("id-1"));
    assert_eq!(fields.get_str(field::VERSION), Some("2"));
    assert_eq!(batch[0].key.as_deref(), Some(&b"k"[..]));
}

#[tokio::test]
async fn row_37_what_has_no_encoding_is_not_published_and_handed_back() {
    let memory = attached(Memory::new().encoded(true));
    let error = refused(&memory, local(13)).await;
    assert!(matches!(error.reason(), Reason::Encode(_)), "{error:?}");
    let TryPublish::Refused(_, back) = memory.try_publish(local(13), &Origin::default()) else {
        panic!("it has no encoding")
    };
    assert!(
        matches!(back.payload, Payload::Local(_)),
        "the value itself comes back"
    );
}

#[tokio::test]
async fn encoded_sizes_count_and_a_full_queue_hands_the_value_back() {
    let memory = attached(Memory::new().encoded(true).max_payload(2));
    let error = refused(&memory, local(100)).await;
    assert!(
        matches!(error.reason(), Reason::TooLarge { size: 3, limit: 2 }),
        "{error:?}"
    );
    (0..8).for_each(|number| drop(put(&memory, local(number))));
    let TryPublish::Wait(back) = memory.try_publish(local(9), &Origin::default()) else {
        panic!("the queue is full")
    };
    assert!(matches!(back.payload, Payload::Local(_)));
    let mut tombstone = message("t", None, 0);
    (tombstone.payload, tombstone.headers) = (Payload::Tombstone, Headers::new());
    drop(drain_now(&mut open(&memory, "g").await));
    put(&memory, tombstone);
    let batch = take(&mut open(&memory, "g").await, 9).await;
    assert!(matches!(batch[0].payload, Payload::Tombstone));
}
