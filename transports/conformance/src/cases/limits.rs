//! What a message may hold arrives unchanged; what it may not is refused before any I/O.

use bytes::Bytes;
use tidings_transport::{
    Carried, EventId, HeaderError, Headers, Message, Name, Origin, Payload, Reason, TraceContext,
    TryPublish,
};

use super::cases;
use crate::kit::{Scene, Spec, Verdict, body, broken, chain, ensure, envelope, post};
use crate::report::Requirement;

cases! { "publish":
    payloads_arrive_unchanged ["P6"] ();
    headers_arrive_unchanged ["P6"] ();
    keys_arrive_unchanged ["P6"] ();
    envelope_arrives_unchanged ["P4"] ();
    oversize_is_refused_before_io ["P6"] (Requirement::SizeLimit);
    illegal_headers_are_refused_before_io ["P6"] ();
}

/// P6: empty, binary and non-UTF-8 payloads, and one of 1 MiB or of the limit if that is lower.
async fn payloads_arrive_unchanged(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("payloads");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let large = scene.max_size().min(1024 * 1024);
    let large: Vec<u8> = (0..large).map(|at| (at % 251) as u8).collect();
    let payloads: [Bytes; 5] = [
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\xff\xfe\x00\x80\r\n"),
        Bytes::from_static(b"{\"plain\":\"text\"}"),
        Bytes::from(large),
    ];
    for payload in payloads {
        let size = payload.len();
        let mut message = post(&topic, Some("k"), 0);
        message.payload = Payload::Bytes(payload.clone());
        link.send(message).await?;
        let received = member.expect(&format!("a payload of {size} bytes")).await?;
        let found = body(&received)?;
        ensure!(
            found == payload,
            "a payload of {size} bytes came with {} bytes or changed",
            found.len()
        );
        received.ack();
    }
    Ok(())
}

/// P6: repeated, empty, binary and long header values, in order.
async fn headers_arrive_unchanged(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("headers");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let mut headers = Headers::new();
    headers.push("region", "eu");
    headers.push("region", "us");
    headers.push("empty", "");
    headers.push("binary", Bytes::from_static(b"\x00\xff\x80\r\n"));
    headers.push("Capitals_and.dots-and spaces", "kept");
    headers.push("long", "x".repeat(2_000));
    headers.push("region", "");
    for sent in [headers, Headers::new()] {
        let mut message = post(&topic, Some("k"), 0);
        message.headers = sent.clone();
        link.send(message).await?;
        let received = member.expect("a message with headers").await?;
        ensure!(
            received.headers == sent,
            "headers {sent:?} came as {:?}, or with other values",
            received.headers
        );
        received.ack();
    }
    Ok(())
}

/// P6: no key, an empty key and a binary key are three different things.
async fn keys_arrive_unchanged(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("keys");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let binary = Bytes::from_static(b"\x00\xff\xfe");
    for key in [
        None,
        Some(Bytes::new()),
        Some(binary),
        Some(Bytes::from("k".repeat(255))),
    ] {
        let mut message = post(&topic, None, 0);
        message.key = key.clone();
        link.send(message).await?;
        let received = member.expect("a message with its key").await?;
        ensure!(
            received.key == key,
            "key {key:?} came as {:?}",
            received.key
        );
        received.ack();
    }
    Ok(())
}

/// P4, house rule 13: every field of the envelope, whether it is carried typed or raw.
async fn envelope_arrives_unchanged(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("envelopes");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let bare = post(&topic, Some("k"), 0);
    let mut full = bare.clone();
    if let Carried::Local(envelope) = &mut full.envelope {
        envelope.id = EventId::from("evt_01HZ9K2M3X é");
        envelope.version = 3;
        envelope.attributes_mut().content_type = Name::from_static("application/octet-stream");
        envelope.attributes_mut().correlation = Some(EventId::from("cor 1"));
        envelope.attributes_mut().causation = Some(EventId::from("evt_0"));
        envelope.attributes_mut().trace = TraceContext::new(1 << 100, 42, 1);
        envelope.hops = 7;
    }
    let mut raw = full.clone();
    raw.envelope = Carried::Raw(full.envelope.to_fields());
    for (what, sent) in [("bare", bare), ("full", full.clone()), ("raw", raw)] {
        let expected = if what == "raw" {
            full.envelope.local()
        } else {
            sent.envelope.local()
        };
        let expected = expected
            .cloned()
            .ok_or_else(|| broken("no typed envelope to compare"))?;
        link.send(sent).await?;
        let received = member.expect("a message with its envelope").await?;
        let found = envelope(&received)?;
        ensure!(
            found == expected,
            "the {what} envelope {expected:?} came as {found:?}"
        );
        received.ack();
    }
    Ok(())
}

/// P6: one byte over the declared limit is NotPublished(TooLarge), waiting or not; nobody sees it
/// and the connection lives. At the limit it arrives.
async fn oversize_is_refused_before_io(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("oversize");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    let limit = scene.max_size();
    let sized = |size: usize| {
        let mut message = post(&topic, Some("k"), 0);
        message.payload = Payload::Bytes(Bytes::from(vec![0; size]));
        message
    };
    refused(&link, sized(limit + 1), |reason| {
        matches!(reason, Reason::TooLarge { size, limit: found } if *size > limit && *found == limit)
    })
    .await?;
    link.send(post(&topic, Some("k"), 1)).await?;
    member.expect_seq(1).await?.ack();
    link.send(sized(limit)).await?;
    let received = member.expect("a payload as large as allowed").await?;
    let size = body(&received)?.len();
    ensure!(
        size == limit,
        "a payload of the limit of {limit} bytes came with {size}"
    );
    received.ack();
    member
        .nothing_more("only messages within the limit were published")
        .await
}

/// P6: a header name that no wire can carry is NotPublished(Header), and the connection lives.
async fn illegal_headers_are_refused_before_io(scene: Scene) -> Verdict {
    let link = scene.open().await?;
    let topic = scene.name("illegal");
    let mut member = link.start(&Spec::new(scene.name("g"), &[&topic])).await?;
    for name in ["", "bad\r\nname", "nul\0", "x".repeat(256).as_str()] {
        let mut message = post(&topic, Some("k"), 0);
        message.headers.push(name, "x");
        refused(
            &link,
            message,
            |reason| matches!(reason, Reason::Header(HeaderError::Name(found)) if *found == name),
        )
        .await?;
    }
    link.send(post(&topic, Some("k"), 1)).await?;
    member.expect_seq(1).await?.ack();
    member.nothing_more("everything else was refused").await
}

/// Both ways to publish must refuse, for a reason of this kind.
async fn refused(
    link: &crate::kit::Link,
    message: Message,
    expected: impl Fn(&Reason) -> bool,
) -> Verdict {
    let judge = |error: tidings_transport::PublishError| {
        ensure!(
            !error.is_unknown(),
            "refused before any I/O, and yet Unknown: {}",
            chain(&error)
        );
        ensure!(
            expected(error.reason()),
            "refused for another reason: {}",
            chain(&error)
        );
        Ok(())
    };
    match link
        .transport
        .try_publish(message.clone(), &Origin::default())
    {
        TryPublish::Refused(error, _) => judge(error)?,
        // A broker's transport may leave the check to the waiting call.
        TryPublish::Wait(_) => {}
        TryPublish::Done(_) => return Err(broken("what cannot be carried was published")),
    }
    link.scene.step("a publish to be refused");
    match link.publish(message).await {
        Ok(_) => Err(broken("what cannot be carried was published")),
        Err(error) => judge(error),
    }
}
