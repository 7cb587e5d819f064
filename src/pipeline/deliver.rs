use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::Arc;

use tidings_transport::{EventId, Name};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{attempt, through};
use super::dead::{self, Cause, Reason};
use super::dedup::{Claim, Guard};
use super::first::{Attempted, First};
use super::gate::Pass;
use super::job::Delivered;
use super::retry::{Attempts, Next, put_aside};
use super::slots::Slot;
use super::{Finished, Job, Verdict, stable_hash, trace};
use crate::bus::GroupCore;
use crate::emit::{Ended, HandlerOutcome};
use crate::event::DecodeError;
use crate::handler::{Entry, HandlerInfo, Invoke, Outcome};
use crate::text::{chain, panic_message, safe};

/// One handler's share of a delivery, from decode to its final state. The worker took a slot of
/// the group's concurrency for it and settles what comes back.
///
/// Dropping the future gives the delivery back unsettled.
pub(crate) async fn deliver<I: Invoke>(
    entry: Arc<Entry<I>>,
    job: Job,
    first: Option<First>,
) -> Finished {
    let mut attempts = 0;
    let verdict = run(&entry, job.delivered(), first, &mut attempts).await;
    note(&entry.info, job.delivered(), attempts, verdict);
    Finished { job, verdict }
}

/// Tells everybody who asked how a handler's share ended.
#[inline]
pub(crate) fn note(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    attempts: u32,
    verdict: Verdict,
) {
    let group = &*handler.group;
    if group.bus.completions.is_tracking() {
        tell(handler, delivered, verdict);
    }
    group
        .bus
        .recorder
        .handled(group, Some(&handler.name), delivered, attempts, verdict);
}

/// Tells whoever waits for this very event.
fn tell(handler: &HandlerInfo, delivered: Delivered<'_>, verdict: Verdict) {
    let completions = &handler.group.bus.completions;
    let ended = match verdict {
        Verdict::Completed => Ended::Completed,
        Verdict::Duplicate => Ended::Duplicate,
        Verdict::DeadLettered => Ended::DeadLettered,
        Verdict::PutAside | Verdict::Skipped | Verdict::HandedBack => return,
    };
    completions.handler_done(&delivered.envelope().id, || HandlerOutcome {
        group: handler.group.name.clone(),
        handler: handler.name.clone(),
        ended,
    });
}

/// The same for an event that could not be read for any handler.
pub(crate) fn tell_unread(group: &GroupCore, delivered: Delivered<'_>, verdict: Verdict) {
    group
        .bus
        .recorder
        .handled(group, None, delivered, 0, verdict);
    let completions = &group.bus.completions;
    if completions.is_tracking() && verdict == Verdict::DeadLettered {
        let id = EventId::from(delivered.envelope_id());
        completions.handler_done(&id, || HandlerOutcome {
            group: group.name.clone(),
            handler: Name::from_static(""),
            ended: Ended::DeadLettered,
        });
    }
}

async fn run<I: Invoke>(
    entry: &Entry<I>,
    delivered: Delivered<'_>,
    first: Option<First>,
    made: &mut u32,
) -> Verdict {
    let group = &*entry.info.group;
    let mut slot = Some(Slot(&group.slots));
    let mut input = None;
    // What came before a first attempt that has begun is done.
    let (begun, claimed) = match first {
        Some(First { attempt, claimed }) => (Some(attempt), claimed),
        None => {
            if entry.info.is_removed() {
                return Verdict::Skipped;
            }
            match entry.invoke.decode(delivered, &*group.bus.codec) {
                Ok(decoded) => input = Some(decoded),
                Err(error) => {
                    drop(slot);
                    return undecodable(&entry.info, delivered, &error).await;
                }
            }
            if let Some(cause) = crash_loop(group, delivered) {
                drop(slot);
                return dead::letter(group, Some(&entry.info), delivered, cause).await;
            }
            match claim(entry, delivered, &mut slot).await {
                Claimed::Unneeded => (None, None),
                Claimed::First(guard) => (None, Some(guard)),
                Claimed::Final(verdict) => return verdict,
            }
        }
    };
    let verdict = retrying(entry, &mut input, delivered, begun, &mut slot, made).await;
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(input))) {
        let error = safe(&panic_message(panic));
        tracing::error!(group = %group.name, error, "an event panicked while it was dropped");
    }
    if let Some(guard) = claimed
        && verdict == Verdict::Completed
    {
        mark(group, guard);
    }
    verdict
}

/// contract: X5, the mark comes after the effect
pub(crate) fn mark(group: &GroupCore, guard: Guard) {
    if let Some(overflow) = guard.done() {
        tracing::warn!(group = %group.name, %overflow, "dedup forgets ids inside its window");
    }
}

/// contract: D8. Without a slot: while a dead letter cannot be written its lane waits, not the group.
async fn undecodable(
    handler: &HandlerInfo,
    delivered: Delivered<'_>,
    error: &DecodeError,
) -> Verdict {
    let cause = Cause::new(Reason::Decode(error.reason()), chain(error), 0);
    dead::letter(&handler.group, Some(handler), delivered, cause).await
}

/// How many deliveries beyond its attempts an event gets. Some are no fault of its own: each
/// restart of a program gives back what it held.
const MOST_RETURNS: u32 = 100;

/// Whether an event came back so often that its handler must be what ends the process (contract
/// R1, misuse 70): a crash leaves no failed attempt behind, only another delivery.
fn crash_loop(group: &GroupCore, delivered: Delivered<'_>) -> Option<Cause> {
    let deliveries = delivered.message().origination.attempt;
    let most = group.settings.retry.attempts.saturating_add(MOST_RETURNS);
    (deliveries > most).then(|| {
        let text = format!("delivered {deliveries} times without an end, the limit is {most}");
        Cause::new(Reason::Handler("crash_loop"), text, deliveries)
    })
}

enum Claimed {
    Unneeded,
    First(Guard),
    Final(Verdict),
}

/// Whether dedup has nothing to find: an id that was made in this process for this event cannot
/// repeat, unless it is redelivered.
pub(crate) fn is_certainly_new(group: &GroupCore, delivered: Delivered<'_>) -> bool {
    let message = delivered.message();
    let fresh = || {
        message
            .envelope
            .local()
            .is_some_and(|envelope| envelope.id.is_fresh())
    };
    group.dedup.is_none() || message.origination.attempt <= 1 && fresh()
}

/// Asks for the right to handle an event; `None` where dedup has nothing to find.
pub(crate) fn try_claim<I: Invoke>(entry: &Entry<I>, delivered: Delivered<'_>) -> Option<Claim> {
    let group = &*entry.info.group;
    let dedup = group.dedup.as_ref()?;
    if is_certainly_new(group, delivered) {
        return None;
    }
    let data = delivered.data(&*group.bus.codec).ok();
    let payload = data.map(|data| stable_hash(&data));
    Some(dedup.claim(&delivered.envelope().id, entry.info.hash, payload))
}

/// contract: X1, X3, X6
async fn claim<'a, I: Invoke>(
    entry: &'a Entry<I>,
    delivered: Delivered<'_>,
    slot: &mut Option<Slot<'a>>,
) -> Claimed {
    let group = &*entry.info.group;
    let id = &delivered.envelope().id;
    while let Some(claim) = try_claim(entry, delivered) {
        match claim {
            Claim::First(guard) => return Claimed::First(guard),
            Claim::Done => {
                trace::duplicate(&entry.info, delivered);
                group.counters.duplicate();
                return Claimed::Final(Verdict::Duplicate);
            }
            Claim::Running(twin) => {
                // The twin may need the slot to finish.
                *slot = None;
                let cancel = delivered.revoked();
                tokio::select! {
                    () = twin.wait() => {}
                    () = cancel.cancelled() => return Claimed::Final(Verdict::HandedBack),
                }
                *slot = take_slot(&entry.info).await;
                if slot.is_none() {
                    return Claimed::Final(Verdict::Skipped);
                }
            }
            Claim::Collision => {
                *slot = None;
                let cause = Cause::new(
                    Reason::IdCollision,
                    safe(&format!(
                        "id {id} was seen before with another payload: give every event its own id"
                    )),
                    0,
                );
                let verdict = dead::letter(group, Some(&entry.info), delivered, cause).await;
                return Claimed::Final(verdict);
            }
        }
    }
    Claimed::Unneeded
}

/// Attempts until a final state. A wait between attempts keeps the key's lane and gives up the
/// slot (contract O2). The first attempt, where it has begun, has its input; a further one decodes
/// the same bytes again (V2).
async fn retrying<'a, I: Invoke>(
    entry: &'a Entry<I>,
    input: &mut Option<I::Input>,
    delivered: Delivered<'_>,
    mut first: Option<Attempted>,
    slot: &mut Option<Slot<'a>>,
    made: &mut u32,
) -> Verdict {
    let group = &*entry.info.group;
    let policy = &group.settings.retry;
    // A redelivery has been tried before: its attempts count (contract R1).
    let prior = delivered.message().origination.attempt.saturating_sub(1);
    let mut attempts = Attempts::resumed(prior, policy);
    let mut first_failure = None;
    if let Some(aside) = delivered.aside() {
        attempts = aside.attempts(attempts);
        first_failure = aside.first_failure;
    }
    let own_trace = trace::own_span(delivered);
    loop {
        let number = attempts.number();
        let begun = first.take();
        let probe = match begun {
            // It passed the gate when it was open.
            Some(_) => None,
            None => match pass(&entry.info, delivered.revoked()).await {
                Pass::Open => None,
                Pass::Probe(probe) => Some(probe),
                Pass::Cancelled => return Verdict::HandedBack,
            },
        };
        // House rule 8: no call begins after an `off`.
        if entry.info.is_removed() && begun.is_none() {
            return Verdict::Skipped;
        }
        *made = made.saturating_add(1);
        let outcome = match begun {
            None => {
                let decoded = match input.take() {
                    Some(decoded) => Ok(decoded),
                    None => entry.invoke.decode(delivered, &*group.bus.codec),
                };
                let input = match decoded {
                    Ok(decoded) => input.insert(decoded),
                    Err(error) => {
                        *slot = None;
                        return undecodable(&entry.info, delivered, &error).await;
                    }
                };
                attempt(entry, input, delivered, number, own_trace.as_deref()).await
            }
            Some(Attempted::Ended(outcome)) => outcome,
            Some(Attempted::Runs { call, current }) => {
                through(call, current, group.settings.deadline).await
            }
        };
        let mut failure = match outcome {
            Outcome::Done => {
                if let Some(probe) = probe {
                    probe.tell(true);
                }
                return Verdict::Completed;
            }
            Outcome::Failed(failure) => failure,
        };
        group.settings.reclassify(&mut failure);
        let class = failure.class();
        let error = failure.into_text();
        let first_failure = *first_failure.get_or_insert_with(|| group.bus.clock.now());
        let next = attempts.after(class, policy, &mut fastrand::Rng::new());
        trace::failed(&entry.info, delivered, number, class, &error, &next);
        match next {
            Next::Retry(after) => {
                if let Some(probe) = probe {
                    probe.tell(false);
                }
                *slot = None;
                if put_aside(&entry.info, delivered, &attempts, first_failure, after).await {
                    return Verdict::PutAside;
                }
                if !wait_for_retry(&entry.info, delivered.revoked(), after).await {
                    return Verdict::HandedBack;
                }
                *slot = take_slot(&entry.info).await;
                if slot.is_none() {
                    return Verdict::Skipped;
                }
            }
            Next::DeadLetter(why) => {
                let counts = why.counts_towards_pause();
                if group.draining.is_cancelled() && counts {
                    // contract: S2, what fails while draining is handed back
                    return Verdict::HandedBack;
                }
                if group.gate.gave_up(why, probe) {
                    // The group is paused: dead letters are for events, not for an outage.
                    continue;
                }
                *slot = None;
                let mut cause = Cause::new(Reason::Handler(why.as_str()), error, attempts.failed());
                cause.first_failure = Some(first_failure);
                return dead::letter(group, Some(&entry.info), delivered, cause).await;
            }
        }
    }
}

/// Waits at the gate of a paused group, no longer than the handler is registered.
async fn pass<'a>(handler: &'a HandlerInfo, revoked: &CancellationToken) -> Pass<'a> {
    let group = &*handler.group;
    if !group.gate.is_closed() {
        return Pass::Open;
    }
    tokio::select! {
        pass = group.gate.pass(&group.draining, revoked) => pass,
        () = handler.removed() => Pass::Open,
    }
}

/// A slot of the group's concurrency; `None` once the handler is removed, so that an `off` inside
/// the handler that holds the last slot is not waited for by those it waits for.
async fn take_slot(handler: &HandlerInfo) -> Option<Slot<'_>> {
    let slots = &handler.group.slots;
    tokio::select! {
        biased;
        () = handler.removed() => None,
        () = slots.take() => Some(Slot(slots)),
    }
}

/// Waits for a retry's turn; `false` when the delivery is to be handed back instead.
async fn wait_for_retry(
    handler: &HandlerInfo,
    revoked: &CancellationToken,
    after: std::time::Duration,
) -> bool {
    let group = &*handler.group;
    if group.draining.is_cancelled() {
        return false;
    }
    let due = Instant::now() + after;
    tokio::select! {
        // contract: S2, a waiting retry runs its next attempt at once
        () = group.draining.cancelled() => return true,
        () = revoked.cancelled() => return false,
        () = handler.removed() => {}
        () = async {
            tokio::time::sleep_until(due).await;
            group.budget.acquire().await;
        } => {}
    }
    true
}
