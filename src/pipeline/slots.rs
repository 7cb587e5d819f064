use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The concurrency of a group: how many attempts run at once.
///
/// Taking and giving back are one atomic step each while nobody waits, which a semaphore with its
/// waiter list is not.
#[derive(Debug)]
pub(crate) struct Slots {
    free: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: AtomicUsize::new(count),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    pub(crate) fn try_take(&self) -> bool {
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| {
                free.checked_sub(1)
            })
            .is_ok()
    }

    /// Cancel safe: a dropped wait takes nothing.
    pub(crate) async fn take(&self) {
        if self.try_take() {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let freed = self.freed.notified();
            if self.try_take() {
                return;
            }
            freed.await;
        }
    }

    /// Waits until a slot is free, without taking it.
    pub(crate) async fn ready(&self) {
        if self.free.load(Ordering::SeqCst) > 0 {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let freed = self.freed.notified();
            if self.free.load(Ordering::SeqCst) > 0 {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn give_back(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // All, not one: a waiter that only looks takes nothing and must not swallow the news.
            self.freed.notify_waiters();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A slot taken, given back when dropped.
pub(crate) struct Slot<'a>(pub(crate) &'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}
