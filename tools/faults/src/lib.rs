//! Faults between a program and its broker, and proof of what they did.
//!
//! | part | what it does |
//! |---|---|
//! | [`Proxy`] | stands before a broker: refuses, resets, freezes, loses, delays, throttles, cuts |
//! | [`Process`] | the program under test as a child: paused, continued, asked to end, killed |
//! | [`Service`] | a broker that somebody else started: stopped, killed, and started again |
//! | [`History`] | what the program did, one line each, in a file that survives `kill -9` |
//! | [`check`] | what the history shows: lost, repeated, out of order, committed too far |
//!
//! Nothing here knows the bus or a broker: programs of any kind can be put to the test, in any
//! language that writes such lines.
//!
//! Each fault that takes effect is counted, see [`Proxy::injected`]. A test that injected nothing
//! shows nothing: look at the count.
//!
//! # Example
//!
//! A connection that breaks, and what the client sees of it:
//!
//! ```
//! use tidings_faults::Proxy;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = Proxy::start(server.local_addr()?).await?;
//! let mut client = TcpStream::connect(proxy.address()).await?;
//! let (mut served, _) = server.accept().await?;
//!
//! client.write_all(b"ping").await?;
//! let mut word = [0; 4];
//! served.read_exact(&mut word).await?;
//! assert_eq!(&word, b"ping");
//!
//! proxy.cut();
//! assert!(client.read_exact(&mut word).await.is_err());
//! assert_eq!(proxy.injected().resets, 1);
//! # Ok(()) }
//! ```

mod check;
mod history;
mod process;
mod proxy;
mod service;

pub use check::{GroupReport, Report, check};
pub use history::{Entry, Event, Fact, History, HistoryError, Place, State};
pub use process::{Process, ProcessError};
pub use proxy::{Injected, Listeners, Proxy, Way};
pub use service::Service;
