//! A TCP proxy that stands before a server and does harm on command.
//!
//! What it does holds for all connections at once, those that are open and those to come. Dropping
//! it ends them.

mod connection;
mod injected;
mod listeners;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use injected::Counters;
pub use injected::Injected;
pub use listeners::Listeners;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 1_024;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
}

impl Way {
    const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// A TCP proxy whose connections can be disturbed.
///
/// A client that is told other addresses by its server (Kafka's advertised listeners are such) goes
/// on through the proxy only if the server tells it the proxy's: see [`Listeners`].
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Proxy {
    /// A proxy to this server, on a free port of loopback.
    ///
    /// # Errors
    ///
    /// That of the listening socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        Self::on((Ipv4Addr::LOCALHOST, 0).into(), server).await
    }

    /// A proxy to this server that listens here.
    ///
    /// # Errors
    ///
    /// That of the listening socket: the address is taken, for one.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn on(listen: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            conditions: watch::Sender::default(),
            cuts: watch::Sender::default(),
            budgets: Way::BOTH.map(|_| AtomicU64::new(UNLIMITED)),
            counters: Counters::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting: task.abort_handle(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did until now.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.shared.counters.read()
    }

    /// Breaks every open connection; new ones are let in.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| cuts.all += 1);
    }

    /// Breaks every open connection and lets no new one in: it is reset as soon as it is accepted.
    pub fn refuse(&self) {
        self.shared.change(|conditions| conditions.refuses = true);
        self.cut();
    }

    /// Holds back everything, without a word to either side, until it is healed: then it goes on
    /// where it was. So does a network that loses every packet for a while.
    pub fn freeze(&self) {
        Way::BOTH.into_iter().for_each(|way| self.freeze_way(way));
    }

    /// Holds back one direction.
    pub fn freeze_way(&self, way: Way) {
        self.shared
            .change(|conditions| conditions.way(way).frozen = true);
    }

    /// Loses everything that goes one way, without a word. A connection that lost something cannot
    /// go on: healing breaks it.
    pub fn lose(&self, way: Way) {
        self.shared
            .change(|conditions| conditions.way(way).loses = true);
    }

    /// Everything takes so much longer, each way.
    pub fn delay(&self, time: Duration) {
        self.shared.change(|conditions| {
            for way in Way::BOTH {
                conditions.way(way).delay = time;
            }
        });
    }

    /// No more than so many bytes a second go each way over one connection; at least 1.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.shared.change(|conditions| {
            for way in Way::BOTH {
                conditions.way(way).rate = Some(bytes_per_second.max(1));
            }
        });
    }

    /// Lets through so many more bytes one way, and breaks the connection whose byte is the next:
    /// with 0, the next answer or request. Once.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.shared.budget(way).store(bytes, Ordering::SeqCst);
    }

    /// Ends everything that was begun.
    pub fn heal(&self) {
        for way in Way::BOTH {
            self.shared.budget(way).store(UNLIMITED, Ordering::SeqCst);
        }
        self.shared.conditions.send_replace(Conditions::default());
        self.shared.cuts.send_modify(|cuts| cuts.torn += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections go with it.
        self.accepting.abort();
    }
}

/// That many bytes never pass.
const UNLIMITED: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    conditions: watch::Sender<Conditions>,
    cuts: watch::Sender<Cuts>,
    // Bytes until the cut, each way.
    budgets: [AtomicU64; 2],
    counters: Counters,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    fn budget(&self, way: Way) -> &AtomicU64 {
        &self.budgets[way as usize]
    }
}

/// How things are now.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    refuses: bool,
    ways: [OneWay; 2],
}

impl Conditions {
    fn way(&mut self, way: Way) -> &mut OneWay {
        &mut self.ways[way as usize]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct OneWay {
    frozen: bool,
    loses: bool,
    delay: Duration,
    rate: Option<u32>,
}

/// How often connections were told to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cuts {
    all: u64,
    // Those that lost something.
    torn: u64,
}

/// Takes connections until it is dropped, and they with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((client, _)) => {
                if shared.conditions.borrow().refuses {
                    shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    reset(&client);
                } else {
                    spawn(
                        &mut connections,
                        connection::serve(client, Arc::clone(&shared)),
                    );
                }
            }
            // No more descriptors, for one: it passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn spawn(connections: &mut JoinSet<()>, serve: impl Future<Output = ()> + Send + 'static) {
    connections.spawn(serve);
}

/// Has the connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // Refused only where it has ended already.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
