use std::cmp::Ordering;
use std::fmt::Display;

use super::{Body, DecodeError, Event, Lineage};

/// One step of a chain, what `upcast_from` writes. All that upcasting needs of the older type is
/// asked for here, once, so that one mistake is one error; for the same reason the newer one is not
/// asked to be an event again.
///
/// It is implemented for a private type, since the older versions of a public event may be private.
pub trait Link {
    /// The event.
    type Event;
    /// The type of the version just below it.
    type Previous: Event + UpcastTo<Self::Event>;
}

/// A type that the next version can be made from: every `From` and `TryFrom` counts.
#[diagnostic::on_unimplemented(
    message = "no conversion from `{Self}` to `{Next}`",
    label = "write `impl From<{Self}> for {Next}`",
    note = "a conversion that can fail is a `TryFrom` whose error implements `Display`"
)]
pub trait UpcastTo<Next> {
    /// Converts; the error is the conversion's own.
    ///
    /// # Errors
    ///
    /// What the `TryFrom` refuses.
    fn upcast(self) -> Result<Next, impl Display>;
}

// Without this rustc would explain its way down to `From` and hide the message above.
#[diagnostic::do_not_recommend]
impl<Previous, Next> UpcastTo<Next> for Previous
where
    Next: TryFrom<Previous>,
    Next::Error: Display,
{
    fn upcast(self) -> Result<Next, impl Display> {
        Next::try_from(self)
    }
}

/// Reads a stored version of the event that may be older.
///
/// # Errors
///
/// Those of [`Event::from_version`].
pub fn from_version<L: Link<Event: Event>>(
    version: u32,
    body: &Body<'_>,
) -> Result<L::Event, DecodeError> {
    let (name, current) = (L::Event::NAME, L::Event::VERSION);
    match version.cmp(&current) {
        Ordering::Equal => body.decode(),
        Ordering::Greater => Err(DecodeError::future(name, version, current)),
        Ordering::Less => L::Previous::from_version(version, body)?
            .upcast()
            .map_err(|error| DecodeError::upcast(name, L::Previous::VERSION, current, error)),
    }
}

/// The lineage of the event.
pub fn lineage<L: Link<Event: Event>>(lineage: &mut Lineage) {
    lineage.push::<L::Event>();
    lineage.then::<L::Previous>();
}

/// Why one type's version cannot follow another's, as a text made at compile time.
#[derive(Clone, Copy, Debug)]
pub struct ChainMistake {
    bytes: [u8; Self::LIMIT],
    len: usize,
}

/// What is wrong with `upcast_from`, if anything is. The texts are what the user calls the two
/// types.
#[must_use]
pub const fn chain_mistake<L: Link<Event: Event>>(
    this: &str,
    previous: &str,
) -> Option<ChainMistake> {
    let (version, below) = (L::Event::VERSION, L::Previous::VERSION);
    // Version 0 is what the derive leaves behind when it has refused the other type already.
    if below == 0 {
        return None;
    }
    let (name, other) = (L::Event::NAME, L::Previous::NAME);
    if !same(name, other) {
        let text = ChainMistake::EMPTY
            .name(previous)
            .text(" is named ")
            .name(other);
        let text = text.text(" and ").name(this).text(" is named ").name(name);
        return Some(text.text(": versions of one event share its name"));
    }
    if below != version - 1 {
        let text = ChainMistake::EMPTY
            .name(previous)
            .text(" is version ")
            .number(below);
        let text = text
            .text(" and ")
            .name(this)
            .text(" is version ")
            .number(version);
        return Some(text.text(": name the type of version ").number(version - 1));
    }
    None
}

/// Stops the build. The caller's place is what the compiler shows.
///
/// # Panics
///
/// Always.
#[track_caller]
pub const fn refuse(mistake: &ChainMistake) -> ! {
    panic!("{}", mistake.as_str())
}

impl ChainMistake {
    const LIMIT: usize = 640;
    const EMPTY: Self = Self {
        bytes: [0; Self::LIMIT],
        len: 0,
    };

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the chain of versions is broken",
        }
    }

    const fn name(self, name: &str) -> Self {
        self.text("`").text(name).text("`")
    }

    const fn number(self, number: u32) -> Self {
        let digit = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"][(number % 10) as usize];
        let front = if number > 9 {
            self.number(number / 10)
        } else {
            self
        };
        front.text(digit)
    }

    /// Appends a text whole, or nothing where it does not fit.
    const fn text(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        if self.len + text.len() <= Self::LIMIT {
            let mut at = 0;
            while at < text.len() {
                self.bytes[self.len + at] = text[at];
                at += 1;
            }
            self.len += text.len();
        }
        self
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{ChainMistake, same};

    #[test]
    fn texts_are_made_of_names_and_numbers() {
        let text = ChainMistake::EMPTY
            .name("V2")
            .text(" is version ")
            .number(u32::MAX);
        assert_eq!(text.as_str(), "`V2` is version 4294967295");
        assert_eq!(ChainMistake::EMPTY.number(0).number(10).as_str(), "010");
    }

    #[test]
    fn a_text_too_long_is_left_out_whole() {
        let long = "ä".repeat(ChainMistake::LIMIT / 2 - 1);
        let text = ChainMistake::EMPTY.text(&long).text("äö").text("ü");
        assert_eq!(text.as_str(), long + "ü");
    }

    #[test]
    fn compares_whole_texts() {
        assert!(same("order.placed", "order.placed"));
        assert!(!same("order.placed", "order.place"));
        assert!(!same("order.placed", "order.placeD"));
        assert!(same("", ""));
    }
}
