use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

async fn proxy() -> Proxy {
    Proxy::start(echo().await).await.expect("a port")
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address())
        .await
        .expect("it listens")
}

async fn says(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    hears(stream, text.len()).await
}

async fn hears(stream: &mut TcpStream, bytes: usize) -> io::Result<String> {
    let mut heard = vec![0; bytes];
    stream.read_exact(&mut heard).await?;
    Ok(String::from_utf8(heard).expect("text"))
}

/// Whether nothing comes for a while.
async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(150), stream.read_u8())
        .await
        .is_err()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn what_nobody_disturbs_passes_and_ends() {
    let proxy = proxy().await;
    let mut client = connect(&proxy).await;
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
    client.shutdown().await.expect("it ends");
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    assert_eq!(read.expect("the end passes too").expect("in good order"), 0);
    assert_eq!(proxy.injected(), Injected::default());
    assert_eq!(proxy.injected().to_string(), "nothing");
}

#[tokio::test]
async fn a_cut_breaks_what_is_open_and_lets_in_what_is_new() {
    let proxy = proxy().await;
    let mut clients = [connect(&proxy).await, connect(&proxy).await];
    for client in &mut clients {
        says(client, "ping").await.expect("it passes");
    }
    proxy.cut();
    for client in &mut clients {
        let error = hears(client, 1).await.expect_err("it is broken");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    let mut client = connect(&proxy).await;
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
    assert_eq!(proxy.injected().resets, 2);
    assert_eq!(proxy.injected().to_string(), "2 connections reset");
}

#[tokio::test]
async fn refused_is_refused_until_healed() {
    let proxy = proxy().await;
    let mut open = connect(&proxy).await;
    says(&mut open, "ping").await.expect("it passes");
    proxy.refuse();
    hears(&mut open, 1).await.expect_err("it is broken");
    for _ in 0..3 {
        // The connection may be seen to break as soon as it is made.
        if let Ok(mut client) = TcpStream::connect(proxy.address()).await {
            says(&mut client, "ping").await.expect_err("not let in");
        }
    }
    assert_eq!((proxy.injected().refused, proxy.injected().resets), (3, 1));
    proxy.heal();
    let mut client = connect(&proxy).await;
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
}

#[tokio::test]
async fn frozen_is_silent_and_goes_on_where_it_was() {
    let proxy = proxy().await;
    let mut client = connect(&proxy).await;
    says(&mut client, "ping").await.expect("it passes");
    proxy.freeze();
    client
        .write_all(b"cold")
        .await
        .expect("the kernel takes it");
    assert!(is_silent(&mut client).await);
    // One that comes now is silent as well.
    let mut late = connect(&proxy).await;
    late.write_all(b"late").await.expect("the kernel takes it");
    until("both are held", || proxy.injected().held == 2).await;
    proxy.heal();
    assert_eq!(hears(&mut client, 4).await.expect("it goes on"), "cold");
    assert_eq!(hears(&mut late, 4).await.expect("it goes on"), "late");
    assert_eq!(proxy.injected().resets, 0);
}

#[tokio::test]
async fn one_frozen_direction_leaves_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("an address");
    let proxy = Proxy::start(server).await.expect("a port");
    let mut client = connect(&proxy).await;
    let (mut served, _) = listener.accept().await.expect("it comes");
    proxy.freeze_way(Way::ToServer);
    client
        .write_all(b"held")
        .await
        .expect("the kernel takes it");
    served.write_all(b"pass").await.expect("it is open");
    assert_eq!(hears(&mut client, 4).await.expect("it passes"), "pass");
    assert!(is_silent(&mut served).await);
    proxy.heal();
    assert_eq!(hears(&mut served, 4).await.expect("it goes on"), "held");
}

#[tokio::test]
async fn what_lost_something_breaks_when_healed() {
    let proxy = proxy().await;
    let (mut client, mut idle) = (connect(&proxy).await, connect(&proxy).await);
    for client in [&mut client, &mut idle] {
        says(client, "ping").await.expect("it passes");
    }
    proxy.lose(Way::ToClient);
    client.write_all(b"gone").await.expect("it is open");
    assert!(is_silent(&mut client).await);
    until("the answer is lost", || proxy.injected().lost == 1).await;
    proxy.heal();
    let error = hears(&mut client, 1).await.expect_err("it has a hole");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(says(&mut idle, "ping").await.expect("it is whole"), "ping");
    assert_eq!(proxy.injected().resets, 1);
}

#[tokio::test]
async fn the_next_answer_can_be_the_one_that_breaks() {
    let proxy = proxy().await;
    let mut client = connect(&proxy).await;
    proxy.cut_after(Way::ToClient, 4);
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
    says(&mut client, "pong")
        .await
        .expect_err("one byte too many");
    assert_eq!(proxy.injected().resets, 1);
    // Once.
    let mut client = connect(&proxy).await;
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
    proxy.cut_after(Way::ToClient, 2);
    client.write_all(b"ping").await.expect("it is open");
    assert_eq!(hears(&mut client, 2).await.expect("two pass"), "pi");
    hears(&mut client, 1).await.expect_err("no more");
    assert_eq!(proxy.injected().resets, 2);
}

#[tokio::test]
async fn delayed_is_late_and_keeps_its_order() {
    let proxy = proxy().await;
    let mut client = connect(&proxy).await;
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let begun = Instant::now();
    assert_eq!(says(&mut client, "one").await.expect("it passes"), "one");
    assert!(begun.elapsed() >= 2 * delay);
    assert_eq!(says(&mut client, "two").await.expect("it passes"), "two");
    assert!(proxy.injected().delayed >= 4);
    proxy.heal();
    let delayed = proxy.injected().delayed;
    says(&mut client, "now").await.expect("it passes");
    assert_eq!(proxy.injected().delayed, delayed);
}

#[tokio::test]
async fn throttled_takes_its_time() {
    let proxy = proxy().await;
    let mut client = connect(&proxy).await;
    proxy.throttle(10_000);
    let begun = Instant::now();
    for _ in 0..3 {
        // The wait comes behind what it is for.
        says(&mut client, &"x".repeat(500))
            .await
            .expect("it passes");
    }
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(proxy.injected().throttled >= 6);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_fault_of_the_proxy() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let proxy = Proxy::start(nobody).await.expect("a port");
    let mut client = connect(&proxy).await;
    says(&mut client, "ping")
        .await
        .expect_err("nobody is there");
    assert_eq!(proxy.injected().total(), 0);
}

#[tokio::test]
async fn an_address_has_one_proxy_at_a_time() {
    let server = echo().await;
    let first = Proxy::start(server).await.expect("a port");
    let second = Proxy::start(server).await.expect("a port");
    let both = [first.address(), second.address()].map(|it| format!("{it}={server}"));
    let both: Listeners = both.join(",").parse().expect("two listeners");
    let free = first.address();
    drop(first);
    let third = timeout(PATIENCE, both.proxy()).await;
    let third = third.expect("in time").expect("one is free");
    assert_eq!(third.address(), free);
    let mut client = connect(&third).await;
    assert_eq!(says(&mut client, "ping").await.expect("it passes"), "ping");
}
