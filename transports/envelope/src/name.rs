use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::{borrow::Borrow, cmp::Ordering, fmt, ops::Deref, sync::Arc};

/// A short immutable string that is cheap to clone: a constant of the program or a shared one.
///
/// Cloning a constant touches no reference count, so that the names every event carries cost
/// nothing on the publish path.
///
/// ```
/// use tidings_envelope::Name;
///
/// const TOPIC: Name = Name::from_static("order.placed");
/// assert_eq!(TOPIC, "order.placed");
/// assert_eq!(Name::from(String::from("order.placed")), TOPIC);
/// ```
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    // One word, so that a name is two: every event carries several.
    Shared(Arc<Box<str>>),
}

impl Name {
    /// A name known at compile time.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Repr::Static(name))
    }

    /// A name that came with a message. Most messages of a process name the same few types and
    /// services, so the last few are kept per thread: sharing one costs no memory.
    pub(crate) fn received(text: &str) -> Self {
        if text.len() > LONGEST_KEPT {
            return Self::from(text);
        }
        let kept = LAST.try_with(|last| last.borrow_mut().get(text));
        // The thread ends.
        kept.unwrap_or_else(|_| Self::from(text))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(text) => text,
            Repr::Shared(text) => text,
        }
    }

    /// The text of a constant.
    pub(crate) fn as_static(&self) -> Option<&'static str> {
        match &self.0 {
            Repr::Static(text) => Some(text),
            Repr::Shared(_) => None,
        }
    }
}

thread_local! {
    static LAST: RefCell<Last> = const { RefCell::new(Last::new()) };
}

/// As long as an event's name may be.
const LONGEST_KEPT: usize = 128;

/// The names that came last, each once.
struct Last {
    names: [Name; 8],
    next: usize,
}

impl Last {
    const fn new() -> Self {
        Self {
            names: [const { Name::from_static("") }; 8],
            next: 0,
        }
    }

    fn get(&mut self, text: &str) -> Name {
        if let Some(known) = self.names.iter().find(|known| known.as_str() == text) {
            return known.clone();
        }
        let name = Name::from(text);
        self.names[self.next] = name.clone();
        self.next = (self.next + 1) % self.names.len();
        name
    }
}

impl<T: AsRef<str>> From<T> for Name {
    fn from(text: T) -> Self {
        Self(Repr::Shared(Arc::new(text.as_ref().into())))
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

impl Deref for Name {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

/// Equal to every name and every other string of the same text.
impl<T: Borrow<str> + ?Sized> PartialEq<T> for Name {
    #[inline]
    fn eq(&self, other: &T) -> bool {
        // Most names that meet are one and the same constant.
        std::ptr::eq(self.as_str(), other.borrow()) || self.as_str() == other.borrow()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}
