use std::fmt;
use std::str::FromStr;

use crate::Name;

/// A pattern over topics, as AMQP topic exchanges have it: words parted by dots, `*` for one word,
/// `#` for any number of words, none included.
///
/// The reserved topics of the bus, which end in `.dead` and `.retry`, match no pattern.
///
/// Source: <https://www.rabbitmq.com/tutorials/amqp-concepts>, topic exchanges.
///
/// ```
/// use tidings_transport::Pattern;
///
/// let pattern: Pattern = "order.*".parse()?;
/// assert!(pattern.matches("order.placed"));
/// assert!(!pattern.matches("order.placed.twice"));
/// assert!(!pattern.matches("order.dead"));
/// # Ok::<(), tidings_transport::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Name);

impl Pattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.ends_with(".dead") || topic.ends_with(".retry") {
            return false;
        }
        let words: Vec<&str> = topic.split('.').collect();
        // `reached[i]`: the pattern so far can match the first i words.
        let mut reached = vec![false; words.len() + 1];
        reached[0] = true;
        for part in self.0.split('.') {
            if part == "#" {
                let first = reached.iter().position(|&yes| yes).unwrap_or(words.len() + 1);
                reached.iter_mut().skip(first).for_each(|yes| *yes = true);
            } else {
                for at in (0..words.len()).rev() {
                    reached[at + 1] = reached[at] && (part == "*" || part == words[at]);
                }
                reached[0] = false;
            }
        }
        reached[words.len()]
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let word = |word: &str| {
            word == "*"
                || word == "#"
                || !word.is_empty()
                    && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if text.len() <= 255 && text.split('.').all(word) {
            Ok(Self(Name::from(text)))
        } else {
            Err(PatternError(text.chars().take(255).collect()))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic pattern: write words parted by dots, each a name, `*` or `#`")]
pub struct PatternError(String);

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn matches_as_a_topic_exchange_does() {
        for (pattern, topic, expected) in [
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b.d", false),
            ("#.c", "c", true),
            ("#.#", "x", true),
            ("*", "a.b", false),
            ("*.b", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("*.#.*", "a", false),
            ("*.#.*", "a.b", true),
            ("#", "orders.dead", false),
            ("#", "orders.retry", false),
        ] {
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(topic), expected, "{pattern} over {topic}");
        }
        for bad in ["", "a..b", "or*er", "a b", "."] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
