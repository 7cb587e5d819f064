//! Where the test kit looks into a running bus; without its feature nothing of this is left.

#[cfg(not(feature = "testing"))]
pub(crate) use off::{Recorder, Recording};

#[cfg(feature = "testing")]
pub(crate) use crate::testing::{Recorder, Recording};

#[cfg(not(feature = "testing"))]
mod off {
    use std::sync::Arc;

    use tidings_transport::{Message, Name};

    use crate::Event;
    use crate::bus::GroupCore;
    use crate::pipeline::{Delivered, Verdict};

    /// Takes note of nothing.
    #[derive(Debug)]
    pub(crate) struct Recorder;

    /// A publish that nobody takes note of.
    #[derive(Debug)]
    pub(crate) struct Recording;

    #[allow(clippy::unused_self, reason = "the same calls as the real one")]
    impl Recorder {
        pub(crate) const fn off() -> Self {
            Self
        }

        #[inline]
        pub(crate) const fn is_on(&self) -> bool {
            false
        }

        #[inline]
        pub(crate) const fn begin(&self, _message: &Message) -> Recording {
            Recording
        }

        #[inline]
        pub(crate) const fn handled(
            &self,
            _group: &GroupCore,
            _handler: Option<&Name>,
            _delivered: Delivered<'_>,
            _attempts: u32,
            _verdict: Verdict,
        ) {
        }

        #[inline]
        pub(crate) const fn skipped(
            &self,
            _group: &GroupCore,
            _delivered: Delivered<'_>,
            _rule: &'static str,
        ) {
        }
    }

    #[allow(clippy::unused_self, reason = "the same calls as the real one")]
    impl Recording {
        #[inline]
        pub(crate) const fn reached(&self, _message: &Message) {}

        #[inline]
        pub(crate) fn published<E: Event>(self, _event: &Arc<E>) {}
    }
}
