//! The keys of the objects that are open while a body is scanned.

use smallvec::SmallVec;

use super::scan::{Flaw, Step};

/// From this many keys on, an object's keys are sorted at its end instead of compared one by one.
const SORT_FROM: usize = 32;

pub(super) struct Keys<'a> {
    text: &'a str,
    /// The keys of all open objects, innermost last.
    keys: SmallVec<[Key; 24]>,
    /// Keys that were written with escapes, as they read.
    decoded: Vec<String>,
    /// The arrays and objects around the innermost.
    outer: SmallVec<[Level; 8]>,
    inner: Level,
}

#[derive(Clone, Copy)]
struct Level {
    /// The index of its first key; for an array, [`ARRAY`].
    first: usize,
    /// One bit per key so far: a key whose bit is clear is new, without a comparison.
    seen: u64,
}

const ARRAY: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Key {
    print: u64,
    place: Place,
}

/// Where the key's text is: in the body, or, with an end of zero, in the list of decoded ones.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
}

impl<'a> Keys<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            keys: SmallVec::new(),
            decoded: Vec::new(),
            outer: SmallVec::new(),
            inner: Level {
                first: ARRAY,
                seen: 0,
            },
        }
    }

    #[inline(always)]
    pub(super) fn open_object(&mut self) {
        self.outer.push(self.inner);
        self.inner = Level {
            first: self.keys.len(),
            seen: 0,
        };
    }

    #[inline(always)]
    pub(super) fn open_array(&mut self) {
        self.outer.push(self.inner);
        self.inner = Level {
            first: ARRAY,
            seen: 0,
        };
    }

    #[inline(always)]
    pub(super) fn in_object(&self) -> bool {
        self.inner.first != ARRAY
    }

    #[inline(always)]
    pub(super) fn close(&mut self) -> Step<()> {
        let first = self.inner.first;
        if first != ARRAY {
            if self.keys.len() - first > SORT_FROM {
                self.sort(first)?;
            }
            self.keys.truncate(first);
        }
        if let Some(outer) = self.outer.pop() {
            self.inner = outer;
        }
        Ok(())
    }

    /// Adds the key at `start..end` of the body, which has no escapes.
    #[inline(always)]
    pub(super) fn add(&mut self, start: usize, end: usize) -> Step<()> {
        self.push(Key {
            print: print(self.text.as_bytes(), start, end),
            place: Place { start, end },
        })
    }

    /// Adds the key at `start..end` of the body, quotes included.
    #[cold]
    #[inline(never)]
    pub(super) fn add_escaped(&mut self, start: usize, end: usize) -> Step<()> {
        let Ok(key) = serde_json::from_str::<String>(&self.text[start..end]) else {
            return Err(Box::new(Flaw::Syntax { at: start }));
        };
        let print = print(key.as_bytes(), 0, key.len());
        self.decoded.push(key);
        self.push(Key {
            print,
            place: Place {
                start: self.decoded.len() - 1,
                end: 0,
            },
        })
    }

    #[inline(always)]
    fn push(&mut self, key: Key) -> Step<()> {
        let bit = 1 << (key.print >> 58);
        if self.inner.seen & bit != 0 {
            self.compare(key)?;
        }
        self.inner.seen |= bit;
        self.keys.push(key);
        Ok(())
    }

    #[inline(never)]
    fn compare(&self, key: Key) -> Step<()> {
        let keys = &self.keys[self.inner.first..];
        if keys.len() < SORT_FROM {
            for other in keys {
                if other.print == key.print && self.name(other.place) == self.name(key.place) {
                    return self.duplicate(key.place);
                }
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn sort(&mut self, first: usize) -> Step<()> {
        // By text and not by fingerprint, which a sender could make collide.
        let mut places: Vec<Place> = self.keys[first..].iter().map(|key| key.place).collect();
        places.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        match places
            .windows(2)
            .find(|pair| self.name(pair[0]) == self.name(pair[1]))
        {
            Some(pair) => self.duplicate(pair[1]),
            None => Ok(()),
        }
    }

    fn name(&self, place: Place) -> &str {
        if place.end == 0 {
            &self.decoded[place.start]
        } else {
            &self.text[place.start..place.end]
        }
    }

    #[cold]
    fn duplicate(&self, place: Place) -> Step<()> {
        Err(Box::new(Flaw::DuplicateKey {
            key: self.name(place).to_owned(),
        }))
    }
}

/// A cheap fingerprint of `bytes[start..end]`: equal keys have equal ones.
#[inline(always)]
fn print(bytes: &[u8], start: usize, end: usize) -> u64 {
    let len = end - start;
    let ends = match len {
        0 => 0,
        // What follows the key is shifted out.
        1..=8 => word(bytes, start) << (64 - 8 * len),
        _ => word(bytes, start) ^ word(bytes, end - 8).rotate_left(29),
    };
    (ends ^ len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        return u64::from_le_bytes(*word);
    }
    let mut padded = [0; 8];
    let rest = bytes.get(at..).unwrap_or_default();
    padded[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(padded)
}
