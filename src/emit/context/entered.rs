//! A handler's context goes into the thread's slot, and what was there before comes back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::{CURRENT, Current, DEFERRED, FLAGS, HANDLING, HEARD, KNOWN, WAITING};

/// A future that is polled in a handler's context.
pub(super) struct Scoped<F> {
    current: Option<Box<Current>>,
    future: F,
}

impl<F> Scoped<F> {
    pub(super) fn new(current: Option<Box<Current>>, future: F) -> Self {
        Self { current, future }
    }
}

impl<F: Future + Unpin> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // A guard, so that a panic in the handler puts both contexts back as well.
        let mut entered = Entered::new(&mut this.current);
        let polled = Pin::new(&mut this.future).poll(task);
        entered.leave();
        polled
    }
}

/// The thread's slot while a handler is polled: the handler's context is in, what was there
/// before waits here.
pub(crate) struct Entered<'a> {
    home: &'a mut Option<Box<Current>>,
    outer: Option<Box<Current>>,
    aside: Option<Box<Aside>>,
    flags: u8,
    inside: bool,
}

/// What belongs to the listeners outside, if a handler or a scope is polled inside of one.
struct Aside {
    heard: Option<Current>,
    deferred: VecDeque<Box<dyn FnOnce()>>,
}

impl Aside {
    #[cold]
    fn take() -> Box<Self> {
        Box::new(Self {
            heard: HEARD.try_with(RefCell::take).ok().flatten(),
            deferred: DEFERRED.try_with(RefCell::take).unwrap_or_default(),
        })
    }

    #[cold]
    fn put_back(self) {
        let mut deferred = self.deferred;
        // Dropped behind the borrow.
        let _inner = HEARD.try_with(|heard| heard.replace(self.heard));
        let _ = DEFERRED.try_with(|waiting| {
            let mut waiting = waiting.borrow_mut();
            deferred.append(&mut waiting);
            *waiting = deferred;
        });
    }
}

impl<'a> Entered<'a> {
    pub(crate) fn new(home: &'a mut Option<Box<Current>>) -> Self {
        let flags = FLAGS.get();
        let inner = home.take();
        FLAGS.set(if inner.is_some() { HANDLING } else { 0 });
        let outer = CURRENT.replace(inner);
        Self {
            home,
            outer,
            aside: (flags & (KNOWN | WAITING) != 0).then(Aside::take),
            flags,
            inside: true,
        }
    }

    fn leave(&mut self) {
        if self.inside {
            self.inside = false;
            *self.home = CURRENT.replace(self.outer.take());
            FLAGS.set(self.flags);
            if let Some(aside) = self.aside.take() {
                aside.put_back();
            }
        }
    }
}

/// Runs what is not the handler's own between its events: what an event's own drop code emits is a
/// story of its own.
#[inline(always)]
pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
    let inside = FLAGS.replace(0);
    let done = f();
    FLAGS.set(inside);
    done
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
