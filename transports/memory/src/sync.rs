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
pub(crate) struct Wakers(Option<(Waker, Vec<Waker>)>);

impl Wakers {
    pub(crate) fn push(&mut self, waker: Waker) {
        match &mut self.0 {
            None => self.0 = Some((waker, Vec::new())),
            Some((_, others)) => others.push(waker),
        }
    }

    #[inline(always)]
    pub(crate) fn wake(self) {
        if let Some((first, others)) = self.0 {
            first.wake();
            others.into_iter().for_each(Waker::wake);
        }
    }
}
