//! Counting tests from the lines that test harnesses print.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Reads the closing line of libtest, rustdoc or libtest-mimic:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, list) = line
            .trim()
            .strip_prefix("test result: ")?
            .split_once(". ")?;
        let mut found = [None; 3];
        for entry in list.split("; ") {
            let Some((number, word)) = entry.split_once(' ') else {
                continue;
            };
            let slot = match word {
                "passed" => 0,
                "failed" => 1,
                "ignored" => 2,
                _ => continue,
            };
            found[slot] = Some(number.parse().ok()?);
        }
        let [Some(passed), Some(failed), Some(ignored)] = found else {
            return None;
        };
        Some(Self {
            passed,
            failed,
            ignored,
        })
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The closing line of a run: `N passed, N failed, N skipped`. An ignored test is a skipped one.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} skipped")
    }
}

/// Collects the result lines of one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    rule: Rule,
    seen: Option<Counts>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Last,
    Sum,
}

impl Tally {
    /// For a test binary: its last result line counts. A test may run a harness of its own inside
    /// the process (a suite that must fail on a planted fault does), and those results come first.
    pub(crate) fn of_binary() -> Self {
        Self {
            rule: Rule::Last,
            seen: None,
        }
    }

    /// For the doc tests: each crate, and each way of compiling them, has a result line.
    pub(crate) fn of_doc_tests() -> Self {
        Self {
            rule: Rule::Sum,
            seen: None,
        }
    }

    /// Looks at one line of output.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(counts) = Counts::parse(line) else {
            return;
        };
        self.seen = Some(match (self.rule, self.seen) {
            (Rule::Sum, Some(before)) => before + counts,
            _ => counts,
        });
    }

    /// What the process reported; `None` when it printed no result line.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; \
                      1 filtered out; finished in 0.05s";
    const FAILED: &str = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; \
                          0 filtered out; finished in 1.20s";

    fn counts(passed: u64, failed: u64, ignored: u64) -> Counts {
        Counts {
            passed,
            failed,
            ignored,
        }
    }

    #[test]
    fn reads_both_verdicts() {
        assert_eq!(Counts::parse(OK), Some(counts(12, 0, 3)));
        assert_eq!(Counts::parse(FAILED), Some(counts(4, 2, 0)));
    }

    #[test]
    fn reads_a_result_line_without_a_time() {
        let line = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::parse(line), Some(counts(1, 0, 0)));
    }

    #[test]
    fn other_lines_are_not_results() {
        for line in [
            "",
            "running 3 tests",
            "test result_is_kept ... ok",
            "test result: ok.",
            "test result: ok. many passed; 0 failed; 0 ignored",
            "test result: ok. 1 passed; 0 failed",
        ] {
            assert_eq!(Counts::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn an_inner_harness_does_not_count() {
        let mut tally = Tally::of_binary();
        assert_eq!(tally.counts(), None);
        for line in [
            "running 12 tests",
            "running 6 tests",
            FAILED,
            "test a ... ok",
            OK,
        ] {
            tally.line(line);
        }
        assert_eq!(tally.counts(), Some(counts(12, 0, 3)));
    }

    #[test]
    fn doc_tests_add_up() {
        let mut tally = Tally::of_doc_tests();
        for line in [OK, "   Doc-tests tidings", FAILED] {
            tally.line(line);
        }
        assert_eq!(tally.counts(), Some(counts(16, 2, 3)));
    }

    #[test]
    fn the_closing_line_has_one_shape() {
        assert_eq!(counts(7, 0, 2).to_string(), "7 passed, 0 failed, 2 skipped");
    }
}
