//! Names, and patterns as librdkafka reads them.

use tidings_transport::{Name, Pattern, Topics};

/// Longest topic name.
///
/// Source: `org.apache.kafka.common.internals.Topic`.
const MAX_TOPIC: usize = 249;

/// What Kafka's own clients and tools can carry as a group id.
const MAX_GROUP: usize = 255;

/// Checks a topic's name as the broker does, before any I/O (P6).
pub(crate) fn check(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > MAX_TOPIC
        || name == "."
        || name == ".."
        || !name.bytes().all(legal)
    {
        return Err(format!(
            "topic name {:?} of {} bytes is not allowed on Kafka: use 1 to {MAX_TOPIC} of `A-Z a-z \
             0-9 . _ -`",
            shown(name),
            name.len()
        ));
    }
    Ok(())
}

pub(crate) fn check_group(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_GROUP || name.chars().any(char::is_control) {
        return Err(format!(
            "group name {:?} of {} bytes is not allowed on Kafka: use 1 to {MAX_GROUP} bytes \
             without control characters",
            shown(name),
            name.len()
        ));
    }
    Ok(())
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// What `subscribe` gets: names, and each pattern as a regular expression.
pub(crate) fn subscription(topics: &Topics) -> Vec<String> {
    let exact = topics.exact.iter().map(Name::to_string);
    exact
        .chain(topics.patterns.iter().map(expression))
        .collect()
}

/// A topic name with `^` in front is a regular expression to librdkafka. It knows no look-ahead, so
/// the reserved topics are kept out by [`RESERVED`].
fn expression(pattern: &Pattern) -> String {
    const WORD: &str = "[^.]+";
    let mut regex = String::from("^");
    let text = pattern.to_string();
    let words: Vec<&str> = text.split('.').collect();
    for (at, word) in words.iter().enumerate() {
        let first = at == 0;
        match *word {
            // With the dot before each further word, so that none at all needs none.
            "#" if first && words.len() == 1 => regex.push_str(".+"),
            "#" if first => regex.push_str("([^.]+\\.)*"),
            "#" => regex.push_str("(\\.[^.]+)*"),
            other => {
                if !(first || at == 1 && words[0] == "#") {
                    regex.push_str("\\.");
                }
                match other {
                    "*" => regex.push_str(WORD),
                    name => name.chars().for_each(|c| {
                        if !c.is_ascii_alphanumeric() && c != '_' && c != '-' {
                            regex.push('\\');
                        }
                        regex.push(c);
                    }),
                }
            }
        }
    }
    regex.push('$');
    regex
}

/// Topics that match no pattern, for `topic.blacklist` of members that follow one.
pub(crate) const RESERVED: &str = "^.*\\.dead$,^.*\\.retry$";

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> String {
        expression(&text.parse().expect("a pattern"))
    }

    #[test]
    fn patterns_become_expressions() {
        assert_eq!(pattern("order.*"), "^order\\.[^.]+$");
        assert_eq!(pattern("order.#"), "^order(\\.[^.]+)*$");
        assert_eq!(pattern("#.placed"), "^([^.]+\\.)*placed$");
        assert_eq!(pattern("#"), "^.+$");
        assert_eq!(pattern("*.placed"), "^[^.]+\\.placed$");
        assert_eq!(pattern("a.#.b"), "^a(\\.[^.]+)*\\.b$");
    }

    #[test]
    fn names_are_checked_as_the_broker_does() {
        assert!(check("order.placed").is_ok());
        for wrong in ["", ".", "..", "größe", "a b", &"x".repeat(250)] {
            let text = check(wrong).expect_err("not allowed");
            assert!(text.contains("not allowed on Kafka"), "{text}");
        }
        assert!(check_group("billing").is_ok());
        assert!(check_group("a\nb").is_err());
    }
}
