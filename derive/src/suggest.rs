/// The candidate that `word` was most likely meant to be: at most a third of its letters differ.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, candidate)| {
            distance <= (word.chars().count().max(candidate.chars().count()) / 3).max(1)
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b`, `c` ``; beyond `limit` only how many more there are.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>, limit: usize) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.len().checked_sub(limit) {
        Some(more @ 1..) => format!("{} and {more} more", words[..limit].join(", ")),
        _ => words.join(", "),
    }
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows of the usual table: the one before the last is what a swap looks back at.
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, list, nearest};

    #[test]
    fn counts_single_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("name", "name", 0),
            ("nam", "name", 1),
            ("naem", "name", 1),
            ("verison", "version", 1),
            ("", "key", 3),
            ("größe", "grösse", 2),
            ("topic", "source", 4),
        ] {
            assert_eq!(distance(a, b), expected, "{a} / {b}");
            assert_eq!(distance(b, a), expected, "{b} / {a}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let keys = ["name", "version", "key", "id"];
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("ky", keys), Some("key"));
        assert_eq!(nearest("rename_all", keys), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(list(["a", "b"], 2), "`a`, `b`");
        assert_eq!(list(["a", "b", "c"], 2), "`a`, `b` and 1 more");
        assert_eq!(list([], 2), "");
    }
}
