//! Names, and patterns as librdkafka reads them.

use tidings_transport::{Name, Pattern, Topics, is_retry_topic};

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
/// the reserved topics are kept out by [`reserved_but`].
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
                    name => name.chars().for_each(|c| push_literal(&mut regex, c)),
                }
            }
        }
    }
    regex.push('$');
    regex
}

/// For `topic.blacklist` of members that follow a pattern: the topics that match none. A group's own
/// retries are not among them, because what is on that list cannot be read by its name either.
///
/// Source: `topic.blacklist` in librdkafka's CONFIGURATION.md; its expressions know no "but".
pub(crate) fn reserved_but(exact: &[Name]) -> String {
    let mut all = vec![String::from("^__.*"), String::from("^.*\\.dead$")];
    match exact.iter().find(|topic| is_retry_topic(topic)) {
        None => all.push(String::from("^.*\\.retry$")),
        Some(own) => {
            let stem = own.strip_suffix(".retry").unwrap_or(own);
            let mut before = String::from("^");
            for c in stem.chars() {
                // Names that end here, and names that go on with something else.
                all.push(format!("{before}\\.retry$"));
                all.push(format!("{before}[^{c}].*\\.retry$"));
                push_literal(&mut before, c);
            }
            all.push(format!("{before}.+\\.retry$"));
        }
    }
    all.join(",")
}

fn push_literal(regex: &mut String, c: char) {
    if !c.is_ascii_alphanumeric() && c != '_' && c != '-' {
        regex.push('\\');
    }
    regex.push(c);
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

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
    fn all_reserved_topics_but_ones_own_match_no_pattern() {
        let reserved = |exact: &[&'static str], topic: &str| {
            let exact: Vec<Name> = exact.iter().map(|name| Name::from_static(name)).collect();
            let list = reserved_but(&exact);
            let mut all = list
                .split(',')
                .map(|regex| Regex::new(regex).expect("an expression"));
            all.any(|regex| regex.is_match(topic))
        };
        for own in [&["order.placed"][..], &["order.placed", "shop.mail.retry"]] {
            for other in [
                "__consumer_offsets",
                "shop.mail.dead",
                "shop.post.retry",
                "shop.mai.retry",
                "shop.mail2.retry",
                "shop-mail.retry",
                "shop.mail.retry.retry",
                "shop.retry",
                "s.retry",
                "x.retry",
                ".retry",
            ] {
                assert!(reserved(own, other), "{other}");
            }
            for open in ["order.placed", "shop.mail", "shop.mail.retry.late"] {
                assert!(!reserved(own, open), "{open}");
            }
        }
        assert!(reserved(&[], "shop.mail.retry"));
        assert!(!reserved(&["shop.mail.retry"], "shop.mail.retry"));
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
