use std::borrow::Cow;
use std::fmt::Write;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

/// A value with one stable text: what a field must be to take part in a key or a natural id.
///
/// Strings, characters, integers and booleans have it, and what points to them. Floats do not: the
/// same number has several texts, and `NaN` equals nothing.
///
/// # Contract
///
/// Equal values write equal texts, different values different ones, in every release and on every
/// platform: the text decides where an event is stored and what it is ordered with.
///
/// # For a type of your own
///
/// Pass the call on to what it is made of:
///
/// ```
/// use tidings::KeyPart;
///
/// struct CustomerId(u64);
///
/// impl KeyPart for CustomerId {
///     fn write_key(&self, text: &mut String) {
///         self.0.write_key(text);
///     }
/// }
///
/// let mut text = String::new();
/// CustomerId(42).write_key(&mut text);
/// assert_eq!(text, "42");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a key or an id",
    label = "has no stable text",
    note = "a key is made of strings, characters, integers and booleans; a float has no stable \
            text: use an integer, such as cents",
    note = "for a type of your own write `impl KeyPart for {Self}`"
)]
pub trait KeyPart {
    /// Appends the value's text to `text` and changes nothing before it.
    fn write_key(&self, text: &mut String);
}

impl KeyPart for str {
    fn write_key(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl KeyPart for String {
    fn write_key(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl KeyPart for char {
    fn write_key(&self, text: &mut String) {
        text.push(*self);
    }
}

impl KeyPart for bool {
    fn write_key(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl KeyPart for $integer {
            fn write_key(&self, text: &mut String) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{self}");
            }
        }

        impl KeyPart for NonZero<$integer> {
            fn write_key(&self, text: &mut String) {
                self.get().write_key(text);
            }
        }
    )*};
}

integers!(
    u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: KeyPart + ?Sized> KeyPart for $pointer {
            fn write_key(&self, text: &mut String) {
                T::write_key(self, text);
            }
        }
    )*};
}

pointers!(&T, Box<T>, Arc<T>, Rc<T>);

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    fn write_key(&self, text: &mut String) {
        T::write_key(self, text);
    }
}

/// The text of a sole part behind a prefix, as it is.
pub fn key_of_one<K: KeyPart + ?Sized>(prefix: &str, part: &K) -> String {
    let mut text = String::from(prefix);
    part.write_key(&mut text);
    text
}

/// The texts of several parts behind a prefix, joined by `:`. A `:` or `\` inside a part is escaped
/// by `\`, so that different parts never make the same text.
#[derive(Debug)]
pub struct KeyOfSeveral {
    text: String,
    begun: bool,
}

impl KeyOfSeveral {
    /// Begins a text.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            text: String::from(prefix),
            begun: false,
        }
    }

    /// Adds a part.
    #[must_use]
    pub fn part<K: KeyPart + ?Sized>(mut self, part: &K) -> Self {
        if self.begun {
            self.text.push(':');
        }
        self.begun = true;
        let start = self.text.len();
        part.write_key(&mut self.text);
        if self.text[start..].contains([':', '\\']) {
            let raw = self.text.split_off(start);
            for c in raw.chars() {
                if matches!(c, ':' | '\\') {
                    self.text.push('\\');
                }
                self.text.push(c);
            }
        }
        self
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashMap;
    use std::num::NonZero;
    use std::sync::Arc;

    use super::{KeyOfSeveral, KeyPart, key_of_one};

    #[test]
    fn every_kind_of_part_has_its_text() {
        let parts: [(&dyn KeyPart, &str); 14] = [
            (&"a:b", "a:b"),
            (&String::from("größe"), "größe"),
            (&Cow::Borrowed("cow"), "cow"),
            (&Box::<str>::from("boxed"), "boxed"),
            (&Arc::<str>::from("shared"), "shared"),
            (&&&7_u8, "7"),
            (&Arc::new(-1_i8), "-1"),
            (&u64::MAX, "18446744073709551615"),
            (&i128::MIN, "-170141183460469231731687303715884105728"),
            (&NonZero::<u32>::MIN, "1"),
            (&true, "true"),
            (&false, "false"),
            (&'é', "é"),
            (&"", ""),
        ];
        for (part, expected) in parts {
            assert_eq!(key_of_one("", part), expected);
            assert_eq!(key_of_one("order:", part), format!("order:{expected}"));
        }
    }

    #[test]
    fn several_parts_are_escaped_and_joined() {
        let key = KeyOfSeveral::new("p:")
            .part("a:b")
            .part("c\\")
            .part(&3_u8)
            .finish();
        assert_eq!(key, "p:a\\:b:c\\\\:3");
        assert_eq!(KeyOfSeveral::new("").part("").part("").finish(), ":");
    }

    #[test]
    fn different_parts_never_make_one_text() {
        let alphabet = ["", "a", ":", "\\", "a:", ":a", "\\:", ":\\", "\\\\", "a\\"];
        let mut seen = HashMap::new();
        for a in alphabet {
            for b in alphabet {
                let two = KeyOfSeveral::new("").part(a).part(b).finish();
                assert_eq!(seen.insert(two, vec![a, b]), None);
                for c in alphabet {
                    let three = KeyOfSeveral::new("").part(a).part(b).part(c).finish();
                    assert_eq!(seen.insert(three, vec![a, b, c]), None);
                }
            }
        }
        assert_eq!(seen.len(), 1_100);
    }
}
