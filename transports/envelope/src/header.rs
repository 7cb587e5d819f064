use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{HeaderError, Name};

/// Headers of a message: names with binary values, in order, repeats allowed.
///
/// Empty headers hold no memory and clones share theirs.
///
/// ```
/// use tidings_envelope::Headers;
///
/// let mut headers = Headers::new();
/// headers.push("region", "eu");
/// assert_eq!(headers.get_str("region"), Some("eu"));
/// assert!(headers.check(16 * 1024).is_ok());
/// headers.push("bad\r\nname", "x");
/// assert!(headers.check(16 * 1024).is_err());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<(Name, Bytes)>>>);

/// Longest header name, in bytes: the short string of AMQP 0.9.1.
const MAX_NAME: usize = 255;

/// Headers of the bus itself start with this.
const RESERVED: &str = "tidings-";
const RESERVED_LIMIT: usize = 8 * 1024;

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Appends a header, keeping earlier ones of the same name.
    pub fn push(&mut self, name: impl Into<Name>, value: impl Into<Bytes>) {
        let list = self.0.get_or_insert_with(Arc::default);
        Arc::make_mut(list).push((name.into(), value.into()));
    }

    /// Sets a header, replacing all of the same name.
    pub fn set(&mut self, name: impl Into<Name>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.push(name, value);
    }

    /// Removes every header of this name.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_some()
            && let Some(list) = &mut self.0
        {
            Arc::make_mut(list).retain(|(other, _)| other != name);
        }
    }

    /// The first value of this name: where a header is repeated, the first wins.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        let mut all = self.iter();
        all.find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The first value of this name, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Bytes)> {
        let list = self.0.as_deref().map_or(&[][..], Vec::as_slice);
        list.iter().map(|(name, value)| (name, value))
    }

    /// How many headers there are, repeats counted.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values together, in bytes.
    pub fn size(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// Checks what every transport can carry (P6). The bus's own headers, which begin with `tidings-`,
    /// have 8 KiB beside the limit: twice what a dead letter adds (R5), so that a message at the
    /// limit can still be dead-lettered.
    /// # Errors
    /// A name that is empty, longer than 255 bytes or has a control character; more than `limit`
    /// bytes in total.
    pub fn check(&self, limit: usize) -> Result<(), HeaderError> {
        for (name, _) in self.iter() {
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(HeaderError::Name(name.clone()));
            }
        }
        let reserved = self.iter().filter(|(name, _)| name.starts_with(RESERVED));
        let reserved: usize = reserved.map(|(name, value)| name.len() + value.len()).sum();
        let limit = limit.saturating_add(reserved.min(RESERVED_LIMIT));
        match self.size() {
            size if size > limit => Err(HeaderError::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }
}

impl FromIterator<(Name, Bytes)> for Headers {
    fn from_iter<I: IntoIterator<Item = (Name, Bytes)>>(headers: I) -> Self {
        let list: Vec<_> = headers.into_iter().collect();
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }
}

/// Names only: values may be private.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(name, &format_args!("{} bytes", value.len()));
        }
        map.finish()
    }
}
