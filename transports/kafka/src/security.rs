//! Who is let in, and by whom: TLS and SASL as typed options.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;

use crate::Kafka;

/// TLS to the brokers: their certificates and host names are always checked.
///
/// Needs the feature `kafka-ssl` of `tidings` (`ssl` of this crate), which links the system's OpenSSL.
///
/// ```
/// use tidings_kafka::Tls;
///
/// let tls = Tls::new().ca_file("/etc/kafka/ca.pem");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    authority: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    any_host: bool,
}

impl Tls {
    /// TLS with the system's authorities.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities of this PEM file, instead of the system's.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authority = Some(path.into());
        self
    }

    /// Shows this certificate, with its key: both PEM files.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Takes a certificate of a trusted authority for any host. Whoever has one of its certificates
    /// can then read and change everything.
    #[must_use]
    pub fn danger_accept_any_host_name(mut self) -> Self {
        self.any_host = true;
        self
    }

    fn problems(&self) -> Vec<String> {
        let files = [
            ("ca_file", self.authority.as_deref()),
            ("certificate", self.identity.as_ref().map(|it| &*it.0)),
            ("key", self.identity.as_ref().map(|it| &*it.1)),
        ];
        files
            .into_iter()
            .filter_map(|(name, path)| unreadable(name, path?))
            .collect()
    }

    fn apply(&self, client: &mut ClientConfig) {
        let text = |path: &Path| path.display().to_string();
        if let Some(authority) = &self.authority {
            client.set("ssl.ca.location", text(authority));
        }
        if let Some((certificate, key)) = &self.identity {
            client
                .set("ssl.certificate.location", text(certificate))
                .set("ssl.key.location", text(key));
        }
        if self.any_host {
            client.set("ssl.endpoint.identification.algorithm", "none");
        }
    }
}

fn unreadable(name: &str, path: &Path) -> Option<String> {
    let error = std::fs::File::open(path).err()?;
    Some(format!("{name} {}: {error}", path.display()))
}

/// A user and a password.
///
/// Needs the feature `kafka-ssl` of `tidings` (`ssl` of this crate). The password is never shown.
///
/// ```
/// use tidings_kafka::Sasl;
///
/// let sasl = Sasl::scram_sha_512("bob", "secret");
/// assert!(!format!("{sasl:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    mechanism: &'static str,
    user: String,
    password: String,
}

impl Sasl {
    /// SASL/PLAIN: the password goes to the broker as it is.
    #[must_use]
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new("PLAIN", user.into(), password.into())
    }

    /// SASL/SCRAM-SHA-256: the password stays here.
    #[must_use]
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new("SCRAM-SHA-256", user.into(), password.into())
    }

    /// SASL/SCRAM-SHA-512: the password stays here.
    #[must_use]
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new("SCRAM-SHA-512", user.into(), password.into())
    }

    fn new(mechanism: &'static str, user: String, password: String) -> Self {
        Self {
            mechanism,
            user,
            password,
        }
    }

    fn apply(&self, client: &mut ClientConfig) {
        client
            .set("sasl.mechanism", self.mechanism)
            .set("sasl.username", &self.user)
            .set("sasl.password", &self.password);
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How a connection is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) plain_text: bool,
}

impl Security {
    pub(crate) fn problems(&self, servers: &str) -> Vec<String> {
        let mut problems: Vec<String> = self.tls.iter().flat_map(Tls::problems).collect();
        if self.sasl.is_some() && self.tls.is_none() && !self.plain_text {
            let mut hosts = servers
                .split(',')
                .filter_map(|it| it.trim().rsplit_once(':'));
            if let Some((host, _)) = hosts.find(|(host, _)| !is_loopback(host)) {
                problems.push(format!(
                    "a password would go to {host} without encryption: add `tls(..)`, or say \
                     `danger_password_in_plain_text()`"
                ));
            }
        }
        problems
    }

    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => return,
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        self.tls.iter().for_each(|tls| tls.apply(client));
        self.sasl.iter().for_each(|sasl| sasl.apply(client));
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address == "localhost" || address.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// An option that librdkafka only has with OpenSSL.
#[diagnostic::on_unimplemented(
    message = "`{Self}` on Kafka needs OpenSSL: turn on the feature `kafka-ssl` of tidings",
    label = "the feature `kafka-ssl` of tidings is off",
    note = "in a program that uses tidings-kafka alone it is the feature `ssl`"
)]
pub trait NeedsSsl {}

#[cfg(feature = "ssl")]
impl NeedsSsl for Tls {}
#[cfg(feature = "ssl")]
impl NeedsSsl for Sasl {}

/// Security. It comes before the first use, as the settings do.
impl Kafka {
    /// Encrypts the connection and checks whom it leads to. Default: plain text.
    #[must_use]
    pub fn tls<T: NeedsSsl + Into<Tls>>(self, tls: T) -> Self {
        let tls = tls.into();
        self.secure(|security| security.tls = Some(tls))
    }

    /// Logs in. Default: nobody.
    ///
    /// A password that would leave the machine without encryption is refused by
    /// [`check`](Self::check).
    #[must_use]
    pub fn sasl<S: NeedsSsl + Into<Sasl>>(self, sasl: S) -> Self {
        let sasl = sasl.into();
        self.secure(|security| security.sasl = Some(sasl))
    }

    /// Lets a password go over the network without encryption.
    #[must_use]
    pub fn danger_password_in_plain_text(self) -> Self {
        self.secure(|security| security.plain_text = true)
    }
}
