//! Topics by name and by pattern.

use tidings_transport::{Pattern, Topics};

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
        ("#", "__consumer_offsets", false),
        ("*", "__consumer_offsets", false),
        ("#", "_schemas", true),
    ] {
        let parsed: Pattern = pattern.parse().expect(pattern);
        assert_eq!(parsed.matches(topic), expected, "{pattern} over {topic}");
    }
    for bad in ["", "a..b", "or*er", "a b", "."] {
        assert!(bad.parse::<Pattern>().is_err(), "{bad}");
    }
}

#[test]
fn a_pattern_is_bounded_and_shown_as_written() {
    let longest = "a".repeat(255);
    assert_eq!(
        longest.parse::<Pattern>().expect("allowed").as_str(),
        longest
    );
    let error = "a".repeat(256).parse::<Pattern>().expect_err("too long");
    assert!(error.to_string().contains("no topic pattern"), "{error}");
    let pattern: Pattern = "a.*".parse().expect("a pattern");
    assert_eq!(pattern.to_string(), "a.*");
}

#[test]
fn topics_are_names_and_patterns() {
    let mut topics = Topics::exact(["orders.dead"]);
    assert!(topics.contains("orders.dead") && !topics.contains("a.b"));
    topics.patterns.push("a.*".parse().expect("a pattern"));
    assert!(topics.contains("a.b"));
}
