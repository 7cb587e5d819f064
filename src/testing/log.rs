use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded list in order of turns, which may come in another order (contract M1).
pub(super) struct Log<T> {
    /// What it lists, for messages.
    what: &'static str,
    bound: usize,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    entries: Vec<(u64, T)>,
    dropped: u64,
}

impl<T> Log<T> {
    pub(super) fn new(what: &'static str, bound: usize) -> Self {
        Self {
            what,
            bound,
            kept: Mutex::new(Kept {
                entries: Vec::new(),
                dropped: 0,
            }),
        }
    }

    /// Adds an entry; beyond the bound it is dropped, which is said now and again at the next
    /// [`read`](Self::read).
    pub(super) fn push(&self, turn: u64, entry: T) {
        let mut kept = self.kept();
        if kept.entries.len() < self.bound {
            kept.entries.push((turn, entry));
            return;
        }
        kept.dropped += 1;
        if kept.dropped == 1 {
            tracing::error!(
                what = self.what,
                kept = self.bound,
                "the test bus drops records from here on"
            );
        }
    }

    /// What `pick` makes of the entries, by turn.
    ///
    /// # Panics
    ///
    /// When an entry was dropped: an incomplete list would let a test pass that should fail.
    pub(super) fn read<U>(&self, pick: impl Fn(&T) -> Option<U>) -> Vec<U> {
        let (mut picked, dropped) = {
            let kept = self.kept();
            let pick = |(turn, entry): &(u64, T)| Some((*turn, pick(entry)?));
            (
                kept.entries.iter().filter_map(pick).collect::<Vec<_>>(),
                kept.dropped,
            )
        };
        assert!(
            dropped == 0,
            "the test bus keeps {bound} {what} events and {dropped} more came: call `forget` \
             between the phases of the test, or raise `TestBusBuilder::keep`",
            bound = self.bound,
            what = self.what,
        );
        picked.sort_by_key(|(turn, _)| *turn);
        picked.into_iter().map(|(_, entry)| entry).collect()
    }

    pub(super) fn clear(&self) {
        let old = {
            let mut kept = self.kept();
            kept.dropped = 0;
            std::mem::take(&mut kept.entries)
        };
        // Dropped after the lock: an event's destructor is the user's code.
        drop(old);
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(turns: &[u64]) -> Log<u64> {
        let log = Log::new("published", 3);
        turns.iter().for_each(|&turn| log.push(turn, turn * 10));
        log
    }

    #[test]
    fn entries_come_in_the_order_of_their_turns() {
        assert_eq!(log(&[2, 0, 1]).read(|&entry| Some(entry)), [0, 10, 20]);
        assert_eq!(
            log(&[2, 0, 1]).read(|&entry| (entry > 5).then_some(entry)),
            [10, 20]
        );
    }

    #[test]
    #[should_panic(expected = "keeps 3 published events and 2 more came")]
    fn an_incomplete_list_is_never_read() {
        let _ = log(&[0, 1, 2, 3, 4]).read(|&entry| Some(entry));
    }

    #[test]
    fn a_cleared_log_has_all_its_room_again() {
        let log = log(&[0, 1, 2, 3]);
        log.clear();
        log.push(4, 40);
        assert_eq!(log.read(|&entry| Some(entry)), [40]);
    }
}
