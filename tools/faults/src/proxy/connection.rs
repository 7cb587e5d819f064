//! One connection through the proxy: two directions, each a reader and a writer with a bounded queue
//! between them, so that a delay holds up nothing but what it delays.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Cuts, Shared, UNLIMITED, Way, reset};

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// Pieces that wait for their time each way; then no more is read.
const WAITING: usize = 256;

/// Carries one connection until either side ends it, or it is broken.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let begun = *cuts.borrow_and_update();
    let torn = AtomicBool::new(false);
    let broken =
        |now: &Cuts| now.all > begun.all || (torn.load(Ordering::SeqCst) && now.torn > begun.torn);
    let server = tokio::select! {
        server = TcpStream::connect(shared.server) => server,
        _ = cuts.wait_for(|now| broken(now)) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let Ok(mut server) = server else {
        // No fault of ours: the server is not there.
        return reset(&client);
    };
    // What goes through must not wait for more.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = carry(Way::ToServer, from_client, to_server, &shared, &torn);
        let back = carry(Way::ToClient, from_server, to_client, &shared, &torn);
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.map(drop),
            _ = cuts.wait_for(|now| broken(now)) => {
                Err(End::Cut)
            }
        }
    };
    if let Err(end) = ended {
        if let End::Cut = end {
            shared.counters.resets.fetch_add(1, Ordering::Relaxed);
        }
        reset(&client);
        reset(&server);
    }
}

/// Why a connection did not end in good order.
enum End {
    /// We broke it.
    Cut,
    /// One of the sides did.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Carries one direction to its end.
async fn carry(
    way: Way,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    shared: &Shared,
    torn: &AtomicBool,
) -> Result<(), End> {
    let (queue, waiting) = mpsc::channel(WAITING);
    tokio::try_join!(
        take(way, from, queue, shared, torn),
        give(way, waiting, to, shared)
    )?;
    Ok(())
}

/// A piece of a stream, and when it is due.
type Piece = (Instant, Vec<u8>);

async fn take(
    way: Way,
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Piece>,
    shared: &Shared,
    torn: &AtomicBool,
) -> Result<(), End> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let now = shared.conditions.borrow().ways[way as usize];
        if now.loses {
            torn.store(true, Ordering::SeqCst);
            shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if now.delay > Duration::ZERO {
            shared.counters.delayed.fetch_add(1, Ordering::Relaxed);
        }
        let piece = (Instant::now() + now.delay, buffer[..read].to_vec());
        if queue.send(piece).await.is_err() {
            return Err(End::Broken);
        }
    }
}

async fn give(
    way: Way,
    mut waiting: mpsc::Receiver<Piece>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
) -> Result<(), End> {
    let mut conditions = shared.conditions.subscribe();
    while let Some((due, piece)) = waiting.recv().await {
        tokio::time::sleep_until(due).await;
        thawed(way, &mut conditions, shared).await;
        let allowed = spend(way, piece.len(), shared);
        to.write_all(&piece[..allowed]).await?;
        if allowed < piece.len() {
            to.flush().await?;
            return Err(End::Cut);
        }
        let rate = conditions.borrow().ways[way as usize].rate;
        if let Some(rate) = rate {
            shared.counters.throttled.fetch_add(1, Ordering::Relaxed);
            let share = allowed as f64 / f64::from(rate);
            tokio::time::sleep(Duration::from_secs_f64(share)).await;
        }
    }
    // The other side learns that no more comes.
    Ok(to.shutdown().await?)
}

/// Waits while the direction is frozen.
async fn thawed(way: Way, conditions: &mut watch::Receiver<super::Conditions>, shared: &Shared) {
    let frozen = |now: &super::Conditions| now.ways[way as usize].frozen;
    if !frozen(&conditions.borrow_and_update()) {
        return;
    }
    shared.counters.held.fetch_add(1, Ordering::Relaxed);
    // The sender is the proxy, which ends this task as it goes.
    let _ = conditions.wait_for(|now| !frozen(now)).await;
}

/// How many of so many bytes may pass before the cut.
fn spend(way: Way, bytes: usize, shared: &Shared) -> usize {
    let wanted = bytes as u64;
    let spent = shared
        .budget(way)
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            UNLIMITED => None,
            // It is used up: the next connection passes.
            _ if left < wanted => Some(UNLIMITED),
            _ => Some(left - wanted),
        });
    match spent {
        Ok(left) if left < wanted => left as usize,
        Ok(_) | Err(_) => bytes,
    }
}
