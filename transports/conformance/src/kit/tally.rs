use std::collections::BTreeMap;

use super::{Failure, Verdict, broken};

/// How often each message came.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<usize, usize>);

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, seq: usize) {
        *self.0.entry(seq).or_default() += 1;
    }

    /// How many different ones came.
    pub(crate) fn unique(&self) -> usize {
        self.0.len()
    }

    /// Fails unless `0..expected` came exactly once each.
    pub(crate) fn exactly(&self, expected: usize) -> Verdict {
        self.at_least(expected)?;
        self.no_repeats(expected)
    }

    /// Fails if any of `0..expected` came more than once.
    pub(crate) fn no_repeats(&self, expected: usize) -> Verdict {
        let often = self.0.iter().filter(|(_, times)| **times > 1);
        let repeated: Vec<_> = often.map(|(seq, _)| *seq).collect();
        if repeated.is_empty() {
            return Ok(());
        }
        Err(list("repeated", &repeated, expected))
    }

    /// Fails unless `0..expected`, and nothing else, came at least once each.
    pub(crate) fn at_least(&self, expected: usize) -> Verdict {
        let lost: Vec<_> = (0..expected)
            .filter(|seq| !self.0.contains_key(seq))
            .collect();
        if !lost.is_empty() {
            return Err(list("lost", &lost, expected));
        }
        let foreign: Vec<_> = self
            .0
            .keys()
            .copied()
            .filter(|seq| *seq >= expected)
            .collect();
        if !foreign.is_empty() {
            return Err(list("unexpected", &foreign, expected));
        }
        Ok(())
    }
}

impl FromIterator<usize> for Tally {
    fn from_iter<I: IntoIterator<Item = usize>>(seqs: I) -> Self {
        let mut tally = Self::default();
        seqs.into_iter().for_each(|seq| tally.add(seq));
        tally
    }
}

fn list(what: &str, seqs: &[usize], of: usize) -> Failure {
    let first: Vec<_> = seqs.iter().take(5).collect();
    broken(format!(
        "{what} {} of {of} messages, the first are {first:?}",
        seqs.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_repetition_and_strangers_are_told_apart() {
        let text = |tally: Tally| match tally.exactly(3) {
            Err(Failure::Broken(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(Tally::from_iter([2, 0, 1]).exactly(3).is_ok());
        assert!(text(Tally::from_iter([0, 2])).starts_with("lost 1"));
        assert!(text(Tally::from_iter([0, 1, 2, 1])).starts_with("repeated 1"));
        assert!(text(Tally::from_iter([0, 1, 2, 3])).starts_with("unexpected 1"));
        assert!(Tally::from_iter([0, 1, 2, 1]).at_least(3).is_ok());
    }
}
