//! Locks that outlive a panic, and wakers that are woken outside of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Locks; a panic elsewhere does not spread, because every critical section here leaves its state
/// whole at each step.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks to wake once all locks are free. The usual single one needs no allocation.
#[derive(Debug, Default)]
#[must_use = "whoever waits must be woken"]
pub(crate) struct Wakers {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakers {
    pub(crate) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.others.push(waker);
        }
    }

    #[inline]
    pub(crate) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.others.into_iter().for_each(Waker::wake);
        }
    }
}
