//! The suite proves itself: each planted fault turns the case that is named here red, and the same
//! case is green without the fault.

mod faults;

use std::marker::PhantomData;
use std::time::Duration;

use faults::broker::{self, BrokerHarness};
use faults::{Plant, PlantedHarness, delivery, publishing};
use tidings_conformance::{Harness, Mode, Outcome, Proof, Report, Suite, run_cases};
use tidings_memory::Memory;
use tidings_transport::{Capability, ErrorKind, TransportError};

/// Far more than any case needs in memory.
const LIMIT: Duration = Duration::from_secs(20);

/// More than any case needs in memory, and short enough to wait for what hangs.
const FAULTY_LIMIT: Duration = Duration::from_secs(4);

fn planted<P: Plant>() -> Suite {
    Suite::new(PlantedHarness(PhantomData::<P>)).time_limit(LIMIT)
}

fn report(suite: Suite) -> Report {
    suite.report().expect("the harness opens its transport")
}

fn failures(report: &Report) -> String {
    let failed = report.runs().iter().filter_map(|run| match &run.outcome {
        Outcome::Failed(text) => Some(format!("{}: {text}\n", run.name)),
        _ => None,
    });
    failed.collect()
}

/// Fails unless this case is red with the fault, in these words, and green without it.
fn assert_red<P: Plant>(case: &str, text: &str) {
    let control = report(planted::<delivery::Sound>().only(case));
    assert!(
        control.passed().contains(case),
        "without a fault: {}",
        failures(&control)
    );
    let found = report(planted::<P>().time_limit(FAULTY_LIMIT).only(case));
    assert!(
        found.failed().contains(case),
        "the fault was not seen by {case}"
    );
    let failures = failures(&found);
    assert!(
        failures.contains(text) && failures.contains("contract "),
        "{failures}"
    );
}

/// The same over a broker that can be disturbed.
fn assert_client_red<C: broker::Client>(case: &str, text: &str) {
    let suite = Suite::new(BrokerHarness::<C>::default()).time_limit(FAULTY_LIMIT);
    let found = report(suite.only(case));
    assert!(
        found.failed().contains(case),
        "the fault was not seen by {case}"
    );
    assert!(failures(&found).contains(text), "{}", failures(&found));
}

#[test]
fn without_a_fault_everything_is_green() {
    let report = report(planted::<delivery::Sound>());
    assert!(report.is_ok(), "{}{report}", failures(&report));
    for declared in [
        Capability::Order,
        Capability::Groups,
        Capability::Delay,
        Capability::Lag,
    ] {
        let proof = report.proof(declared);
        assert!(matches!(proof, Proof::Proven { .. }), "{declared}: {proof}");
    }
    assert_eq!(report.proof(Capability::Durable), Proof::NotDeclared);
    // Not passed, not failed, and with the reason.
    let ignored = |name: &str| {
        let run = report.runs().iter().find(|run| run.name == name);
        run.map(|run| run.outcome.clone())
    };
    let needs = |what: &str| Some(Outcome::Ignored(format!("needs {what}")));
    assert_eq!(
        ignored("publish::published_before_subscribing"),
        needs("capability retains")
    );
    assert_eq!(
        ignored("resume::broker_restart"),
        needs("harness fault restart broker")
    );
}

#[test]
fn without_a_fault_a_disturbed_broker_is_survived() {
    let report = report(Suite::new(BrokerHarness::<broker::Right>::default()).time_limit(LIMIT));
    assert!(report.is_ok(), "{}{report}", failures(&report));
    for case in [
        "resume::broker_restart",
        "resume::dropped_connection_mid_publish",
        "resume::dropped_connection_mid_ack",
        "resume::broker_cancels_the_consumer",
        "publish::a_lost_confirm_is_unknown",
        "publish::bounded_time_without_a_broker",
        "publish::confirmed_means_held",
        "resume::messages_outlive_their_handle",
    ] {
        assert!(report.passed().contains(case), "{case} was not run");
    }
}

#[test]
fn losing_one_in_twenty_is_seen() {
    assert_red::<delivery::LosesOneInTwenty>("publish::many_topics_at_once", "time limit");
}

#[test]
fn duplicates_are_seen() {
    assert_red::<publishing::Duplicates>("publish::many_publishers_many_subscribers", "repeated");
}

#[test]
fn reordering_per_key_is_seen() {
    assert_red::<delivery::ReordersPerKey>("order::fifo_per_key_one_consumer", "came after");
}

#[test]
fn acking_early_is_seen() {
    assert_red::<delivery::AcksEarly>("settle::unsettled_drop_redelivers", "0 came so far");
}

#[test]
fn forgetting_acks_is_seen() {
    assert_red::<delivery::ForgetsAcks>("resume::close_and_continue", "message 0 came");
}

#[test]
fn hanging_on_close_is_seen() {
    let case = "close::deadline_holds_with_a_stuck_consumer";
    assert_red::<publishing::HangsOnClose>(case, "the transport to close");
}

#[test]
fn counting_nothing_on_close_is_seen() {
    let case = "close::drain_returns_exact_counts";
    assert_red::<publishing::CountsNothingOnClose>(case, "six messages");
}

#[test]
fn ok_after_close_is_seen() {
    let case = "close::publishing_after_close_is_refused";
    assert_red::<publishing::OkAfterClose>(case, "after the close is Ok");
}

#[test]
fn mixing_topics_is_seen() {
    assert_red::<publishing::MixesTopics>("publish::topics_do_not_cross", "delivered as one of");
}

#[test]
fn forgetting_headers_is_seen() {
    assert_red::<delivery::ForgetsHeaders>("publish::headers_arrive_unchanged", "headers");
}

#[test]
fn forgetting_empty_keys_is_seen() {
    assert_red::<delivery::ForgetsEmptyKeys>("publish::keys_arrive_unchanged", "came as None");
}

#[test]
fn changing_ids_is_seen() {
    assert_red::<delivery::ChangesIds>("publish::a_retry_keeps_the_id", "came as mine");
}

#[test]
fn ignoring_a_release_is_seen() {
    assert_red::<delivery::IgnoresRelease>("settle::release_redelivers", "98 came so far");
}

#[test]
fn lying_in_the_receipt_is_seen() {
    assert_red::<publishing::LiesInItsReceipt>("publish::unroutable_says_so", "somebody");
}

#[test]
fn hiding_the_unroutable_is_seen() {
    assert_red::<publishing::HidesTheUnroutable>("publish::unroutable_says_so", "no word");
}

#[test]
fn dropping_when_full_is_seen() {
    assert_red::<publishing::DropsWhenFull>("publish::pipelining_keeps_key_order", "time limit");
}

#[test]
fn an_unbounded_queue_is_seen() {
    assert_red::<publishing::UnboundedQueue>("bounds::slow_consumer_bounds_memory", "resident");
}

#[test]
fn truncating_the_oversize_is_seen() {
    let case = "publish::oversize_is_refused_before_io";
    assert_red::<publishing::TruncatesTheOversize>(case, "was published");
}

#[test]
fn a_stuck_attempt_is_seen() {
    assert_red::<delivery::AttemptStuckAtOne>("settle::attempt_count", "attempt 1");
}

#[test]
fn an_early_delayed_message_is_seen() {
    assert_red::<publishing::DelaysTooLittle>("settle::delay_not_early", "before it was due");
}

#[test]
fn a_wider_window_is_seen() {
    assert_red::<delivery::WidensTheWindow>("order::nothing_new_before_the_ack", "window of 1");
}

#[test]
fn swallowing_when_cancelled_is_seen() {
    assert_red::<delivery::SwallowsWhenCancelled>("resume::cancel_a_receive_future", "time limit");
}

#[test]
fn leaking_failures_between_groups_is_seen() {
    assert_red::<delivery::LeaksFailures>("groups::groups_are_independent", "repeated");
}

#[test]
fn forgetting_the_group_is_seen() {
    assert_red::<delivery::ForgetsTheGroup>("resume::close_and_continue", "Missing");
}

#[test]
fn keeping_removed_entries_is_seen() {
    assert_red::<delivery::KeepsRemovedEntries>(
        "browse::removed_entries_are_gone",
        "after removing",
    );
}

#[test]
fn an_old_interest_is_seen() {
    let case = "groups::interest_never_denies_a_group";
    assert_red::<publishing::RemembersOldInterest>(case, "misses the group");
}

#[test]
fn a_lag_that_stands_still_is_seen() {
    assert_red::<publishing::LagStandsStill>("settle::lag_counts_what_is_not_final", "a lag of 6");
}

#[test]
fn an_unconfirmed_ok_is_seen() {
    let case = "publish::a_lost_confirm_is_unknown";
    assert_client_red::<broker::CallsTheUnconfirmedOk>(case, "is Ok");
}

#[test]
fn waiting_for_ever_is_seen() {
    let case = "publish::bounded_time_without_a_broker";
    assert_client_red::<broker::WaitsForEver>(case, "without a broker");
}

#[test]
fn losing_on_a_cut_is_seen() {
    let case = "resume::dropped_connection_mid_publish";
    assert_client_red::<broker::LosesOnACut>(case, "came so far");
}

#[test]
fn idling_in_silence_is_seen() {
    let case = "resume::broker_cancels_the_consumer";
    assert_client_red::<broker::IdlesInSilence>(case, "after the broker ended");
}

struct Bare;

impl Harness for Bare {
    type Transport = Memory;

    async fn open(&self) -> Result<Memory, TransportError> {
        Ok(Memory::new())
    }
}

#[test]
fn the_unwrapped_transport_is_green() {
    let report = run_cases(Bare, "").expect("the harness opens its transport");
    assert!(report.is_ok(), "{}{report}", failures(&report));
    // Without the wrapper's hook there is one case less.
    assert!(
        !report
            .passed()
            .contains("bounds::slow_consumer_bounds_memory")
    );
}

struct Unwilling;

impl Harness for Unwilling {
    type Transport = Memory;

    async fn open(&self) -> Result<Memory, TransportError> {
        Err(TransportError::new(
            ErrorKind::Connection,
            "nobody listens on port 1",
        ))
    }
}

#[test]
fn a_transport_that_cannot_be_opened_is_an_error_not_an_empty_report() {
    let error = run_cases(Unwilling, "").expect_err("nothing can be run");
    assert!(error.contains("nobody listens on port 1"), "{error}");
}

#[test]
fn stress_runs_every_case_in_every_round() {
    let suite = planted::<delivery::Sound>()
        .mode(Mode::Stress(3))
        .only("order::");
    let report = report(suite);
    assert!(report.failed().is_empty(), "{}", failures(&report));
    let rounds = report
        .runs()
        .iter()
        .filter(|run| run.name == "order::nothing_new_before_the_ack");
    assert_eq!(rounds.count(), 3);
}
