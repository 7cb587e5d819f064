use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tidings_transport::Mode;
use tokio::sync::Notify;

/// What one member was handed and what became of it.
///
/// An ack is one atomic addition. Somebody who must learn of acks first counts himself in as a
/// watcher and then reads the counters; an ack first counts and then looks for watchers. All of it
/// is sequentially consistent, so one of the two sees the other.
pub(crate) struct Tally {
    pub(crate) seat: u64,
    pub(crate) mode: Mode,
    handed: AtomicU64,
    finished: AtomicU64,
    returned: AtomicU64,
    watchers: AtomicUsize,
    gone: AtomicBool,
    bell: Notify,
}

impl Tally {
    pub(crate) fn new(seat: u64, mode: Mode) -> Self {
        Self {
            seat,
            mode,
            handed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            watchers: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    pub(crate) fn hand(&self, messages: usize) {
        self.handed.fetch_add(messages as u64, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn finish(&self, messages: usize) {
        self.finished.fetch_add(messages as u64, Ordering::SeqCst);
    }

    pub(crate) fn give_back(&self) {
        self.returned.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }

    /// How many messages it holds now. Read `handed` last: the answer is never too small.
    #[inline]
    pub(crate) fn unsettled(&self) -> usize {
        let settled = self.finished() + self.returned.load(Ordering::SeqCst);
        let unsettled = self.handed.load(Ordering::SeqCst).saturating_sub(settled);
        usize::try_from(unsettled).unwrap_or(usize::MAX)
    }

    /// Whether it left its group.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Leaves; `false` when it had left before.
    pub(crate) fn go(&self) -> bool {
        !self.gone.swap(true, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) != 0
    }

    /// From now on each settle tells the group and rings the bell, for good.
    pub(crate) fn watch_always(&self) {
        self.watchers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Waits until it holds less than `window` messages or has left.
    pub(crate) async fn below(&self, window: usize) {
        self.until(|| self.unsettled() < window || self.is_gone())
            .await;
    }

    /// Waits until it holds none.
    pub(crate) async fn drained(&self) {
        self.until(|| self.unsettled() == 0).await;
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        let _watch = Watch::new(self);
        loop {
            let mut bell = pin!(self.bell.notified());
            bell.as_mut().enable();
            if reached() {
                return;
            }
            bell.await;
        }
    }
}

/// A watcher, until it is dropped: a cancelled wait leaves none behind.
struct Watch<'a>(&'a Tally);

impl<'a> Watch<'a> {
    fn new(tally: &'a Tally) -> Self {
        tally.watch_always();
        Self(tally)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}
