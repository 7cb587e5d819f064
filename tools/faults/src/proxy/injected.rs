use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a proxy did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Connections that were not let in.
    pub refused: u64,
    /// Connections that were broken.
    pub resets: u64,
    /// Pieces of a stream that were held back by a freeze.
    pub held: u64,
    /// Pieces that were lost.
    pub lost: u64,
    /// Pieces that came later by a delay.
    pub delayed: u64,
    /// Pieces that waited for their share of a throttled second.
    pub throttled: u64,
}

impl Injected {
    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(count, _)| count).sum()
    }

    fn named(&self) -> [(u64, &'static str); 6] {
        [
            (self.refused, "connections refused"),
            (self.resets, "connections reset"),
            (self.held, "pieces held"),
            (self.lost, "pieces lost"),
            (self.delayed, "pieces delayed"),
            (self.throttled, "pieces throttled"),
        ]
    }
}

/// Those that happened: `3 connections reset, 12 pieces lost`, or `nothing`.
impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let happened = self.named().into_iter().filter(|(count, _)| *count > 0);
        let texts: Vec<String> = happened
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        f.pad(&match texts.is_empty() {
            true => String::from("nothing"),
            false => texts.join(", "),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) refused: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) delayed: AtomicU64,
    pub(super) throttled: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Injected {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Injected {
            refused: read(&self.refused),
            resets: read(&self.resets),
            held: read(&self.held),
            lost: read(&self.lost),
            delayed: read(&self.delayed),
            throttled: read(&self.throttled),
        }
    }
}
