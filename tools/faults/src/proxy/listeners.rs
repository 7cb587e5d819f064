use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use super::Proxy;

/// How long [`Listeners::proxy`] looks for an address that is free.
const PATIENCE: Duration = Duration::from_secs(60);

/// The listeners of a server that tells its clients where to go on, as Kafka does by its advertised
/// listeners: each is told to clients by an address at which nobody listens but a [`Proxy`].
///
/// Written `address=listener`, more of them parted by commas. Whoever listens at such an address has
/// that listener to itself, among all processes of the machine.
///
/// ```
/// use tidings_faults::Listeners;
///
/// let listeners: Listeners = "127.0.0.1:9192=127.0.0.1:9092".parse()?;
/// assert!("127.0.0.1:9192".parse::<Listeners>().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners(Vec<(SocketAddr, SocketAddr)>);

impl Listeners {
    /// A proxy at the first of the addresses that is free. Waits up to 60 s for one.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, if all of them are taken all the time.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn proxy(&self) -> io::Result<Proxy> {
        let until = Instant::now() + PATIENCE;
        loop {
            for (address, listener) in &self.0 {
                match Proxy::on(*address, *listener).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    started => return started,
                }
            }
            if Instant::now() >= until {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("each of {:?} is taken: run fewer tests at once", self.0),
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl FromStr for Listeners {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let pair = |pair: &str| {
            let (address, listener) = pair.split_once('=')?;
            Some((address.parse().ok()?, listener.parse().ok()?))
        };
        let pairs: Option<Vec<_>> = text.split(',').map(pair).collect();
        pairs.map(Self).ok_or_else(|| {
            let text =
                format!("{text:?} names no listeners: write `address=listener`, parted by commas");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })
    }
}
