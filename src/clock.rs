//! The one place where wall time is read.

use std::fmt;
use std::time::Duration;

use tidings_transport::Timestamp;

/// Where wall time comes from.
///
/// The bus reads wall time only to stamp events, receipts and dead letters. Everything that
/// *waits* (backoffs, windows, deadlines, pauses) goes by tokio's monotonic clock, so a wall clock
/// that jumps, in either direction and by any amount, ends nothing early and keeps nothing
/// waiting. A retry that was put aside in `<group>.retry`, perhaps by another process, is the one
/// exception: how much of its wait is left is told by wall time, and is never more than all of it.
///
/// ```
/// use tidings::{Clock, SystemClock};
///
/// #[derive(Debug)]
/// struct HourAhead(SystemClock);
///
/// impl Clock for HourAhead {
///     fn now(&self) -> tidings_transport::Timestamp {
///         self.0.now().saturating_add(std::time::Duration::from_secs(3_600))
///     }
/// }
///
/// let (here, ahead) = (SystemClock, HourAhead(SystemClock));
/// assert!(ahead.now() > here.now());
/// // An event "from the future" has age zero, never a negative one.
/// assert_eq!(here.since(ahead.now()), std::time::Duration::ZERO);
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time now. May be earlier than an earlier answer; must not panic.
    fn now(&self) -> Timestamp;

    /// How long ago a moment was; zero when it lies ahead of [`now`](Self::now).
    fn since(&self, earlier: Timestamp) -> Duration {
        let micros = i128::from(self.now().as_micros()) - i128::from(earlier.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// The system's wall clock, to the millisecond or so, which is what an event's id holds of it.
///
/// On Linux it is the coarse clock, which the kernel sets once per tick: it is at most a tick (1 to
/// 10 ms, most often 4) behind, and reading it costs a third of reading the exact one, which would
/// be a tenth of emitting an event. Where that is too coarse, pass another [`Clock`] to
/// [`BusBuilder::clock`](crate::BusBuilder::clock).
///
/// Source: `CLOCK_REALTIME_COARSE` in
/// [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Timestamp {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Timestamp::from_micros(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
    }

    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A wall clock that moves with tokio's: time that is paused or advanced there is paused or
/// advanced here.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

#[cfg(any(test, feature = "testing"))]
impl VirtualClock {
    /// 2026-01-01T00:00:00Z: fixed, so that a test prints the same times in every run.
    pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    /// Shows [`START`](Self::START) now.
    pub(crate) fn new() -> Self {
        Self::starting_at(Self::START)
    }

    /// Shows `start` now.
    pub(crate) fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            origin: tokio::time::Instant::now(),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.start.saturating_add(self.origin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_system_clock_is_at_most_a_tick_behind_the_exact_one() {
        let behind = || {
            let coarse = SystemClock.now();
            Timestamp::now().as_micros() - coarse.as_micros()
        };
        // Ticks are 1 to 10 ms. A tick may come late on a machine that is shared, and the exact
        // clock may be stepped between two reads, but not each time.
        let mut reads = std::iter::repeat_with(behind).take(10_000_000);
        assert!(reads.any(|behind| (0..=10_000).contains(&behind)));
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_is_tokio_time() {
        let clock = VirtualClock::new();
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
        tokio::time::sleep(DAY).await;
        assert_eq!(clock.now().to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(clock.since(VirtualClock::START), DAY);
    }

    /// Fault F37: ten years either way, and the ends of what can be represented.
    #[tokio::test(start_paused = true)]
    async fn clocks_that_jump_never_panic() {
        let extremes = [
            i64::MIN,
            -315_576_000_000_000,
            0,
            VirtualClock::START.as_micros(),
            VirtualClock::START.as_micros() + 315_576_000_000_000,
            i64::MAX,
        ]
        .map(Timestamp::from_micros);
        for start in extremes {
            let clock = VirtualClock::starting_at(start);
            tokio::time::advance(DAY).await;
            assert!(clock.now() >= start);
            for earlier in extremes {
                let age = clock.since(earlier);
                assert_eq!(age.is_zero(), earlier >= clock.now(), "{start} {earlier}");
            }
        }
    }
}
