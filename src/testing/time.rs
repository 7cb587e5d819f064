use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How many rounds the other tasks get after time has moved.
const ROUNDS: usize = 512;

/// The resolution of tokio's timers.
const TICK: Duration = Duration::from_millis(1);

/// Stops tokio's clock on a full tick, unless it stands still already.
///
/// # Panics
///
/// Outside a runtime, and on a multi-thread one, whose clock cannot be stopped.
pub(super) async fn pause() {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    assert!(
        matches!(flavor, Ok(RuntimeFlavor::CurrentThread)),
        "a test bus stops the clock of its runtime, which only a current-thread runtime can do: \
         build it inside `#[tokio::test]` without a flavor (found: {})",
        flavor.map_or_else(
            |_| String::from("no runtime"),
            |flavor| format!("{flavor:?}")
        ),
    );
    if !is_paused() {
        tokio::time::pause();
    }
    align().await;
}

/// A clock that was stopped between two ticks stays between ticks, and every timer is a tick late
/// then. Where between is not to be asked, but to be found out: a wait ends with this tick or the
/// next, as it reaches past the end of this one or not.
async fn align() {
    /// The last nanosecond of a tick.
    const LAST: u64 = 999_999;
    let (mut least, mut most) = (0, LAST);
    while least < most {
        // At first whether it stands on a tick already, then halving what is left.
        let past = if (least, most) == (0, LAST) {
            0
        } else {
            least.midpoint(most)
        };
        let begin = tokio::time::Instant::now();
        tokio::time::sleep(TICK - Duration::from_nanos(past)).await;
        if begin.elapsed() <= TICK {
            most = past;
        } else {
            least = past + 1;
        }
    }
    if least > 0 {
        tokio::time::advance(TICK - Duration::from_nanos(least)).await;
    }
}

/// tokio has no question for it, and panics when it is asked to stop twice. On this thread nothing
/// else can move a stopped clock meanwhile, and a running one passes the system's.
fn is_paused() -> bool {
    let before = tokio::time::Instant::now();
    let real = Instant::now();
    while Instant::now() <= real {
        std::hint::spin_loop();
    }
    tokio::time::Instant::now() == before
}

/// Lets time pass, timer by timer, and then lets everything run that has become due.
pub(super) async fn advance(by: Duration) {
    // A sleep visits every timer on its way in order; tokio's own `advance` jumps over them, and
    // whoever looks at the clock then sees the end of the interval.
    tokio::time::sleep(by).await;
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_clock_is_stopped_once() {
        assert!(!is_paused());
        pause().await;
        assert!(is_paused());
        pause().await;
        assert!(is_paused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_clock_stays_stopped() {
        assert!(is_paused());
        pause().await;
        assert!(is_paused());
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_exact_wherever_the_clock_was_stopped() {
        for nanos in [1, 2, 499_999, 500_000, 999_998, 999_999, 1_000_000] {
            tokio::time::advance(Duration::from_nanos(nanos)).await;
            pause().await;
            for wait in [1, 60_000, 86_400_000].map(Duration::from_millis) {
                let begin = tokio::time::Instant::now();
                advance(wait).await;
                assert_eq!(begin.elapsed(), wait, "stopped {nanos} ns past a tick");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    #[should_panic(expected = "found: MultiThread")]
    async fn a_runtime_with_threads_is_refused_by_name() {
        pause().await;
    }

    #[test]
    #[should_panic(expected = "found: no runtime")]
    fn without_a_runtime_there_is_no_clock() {
        let _ = futures::FutureExt::now_or_never(pause());
    }
}
