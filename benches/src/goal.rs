//! The goals that the project sets itself, each read from the measured cases.

use crate::cases::name;
use crate::driver::Measured;

/// A goal about two cases.
pub(crate) struct Goal {
    pub(crate) id: &'static str,
    case: String,
    limit: String,
    bound: Bound,
}

enum Bound {
    /// Time, as a multiple of the limit's.
    Times(f64),
    /// Events a second, as a multiple of the limit's.
    Rate(f64),
    /// Nanoseconds beyond the limit's.
    Nanos(f64),
}

/// A goal and what was measured.
pub(crate) struct Verdict {
    pub(crate) id: &'static str,
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// All goals whose cases were measured, in order.
pub(crate) fn verdicts(measured: &[Measured]) -> Vec<Verdict> {
    all()
        .iter()
        .filter_map(|goal| goal.verdict(measured))
        .collect()
}

impl Goal {
    fn verdict(&self, measured: &[Measured]) -> Option<Verdict> {
        let find = |name: &str| measured.iter().find(|measured| measured.name == name);
        let (case, limit) = (find(&self.case)?, find(&self.limit)?);
        let (wanted, value, met) = match self.bound {
            Bound::Times(most) => {
                let ratio = case.ratio_to(limit);
                (format!("≤ {most}×"), format!("{ratio:.2}×"), ratio <= most)
            }
            Bound::Rate(least) => {
                let rate = limit.ratio_to(case);
                (
                    format!("≥ {least}× the rate"),
                    format!("{rate:.2}×"),
                    rate >= least,
                )
            }
            Bound::Nanos(most) => {
                let nanos = case.beyond(limit);
                (
                    format!("≤ {most} ns more"),
                    format!("{nanos:+.2} ns"),
                    nanos <= most,
                )
            }
        };
        let what = format!("{} against {}", self.case, self.limit);
        Some(Verdict {
            id: self.id,
            what,
            wanted,
            measured: value,
            met,
        })
    }
}

fn all() -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |id, case: &str, limit: &str, bound| {
        goals.push(Goal {
            id,
            case: case.into(),
            limit: limit.into(),
            bound,
        });
    };
    for (listeners, most) in [(1, 3.0), (3, 1.6), (10, 1.3)] {
        goal(
            "G1",
            &name::handle(listeners),
            &name::raw(listeners),
            Bound::Times(most),
        );
    }
    for (listeners, try_emit, emit) in [(1, 7.0, 11.0), (10, 1.5, 1.5)] {
        goal(
            "G2",
            &name::try_emit(listeners),
            &name::raw(listeners),
            Bound::Times(try_emit),
        );
        goal(
            "G2",
            &name::emit(listeners),
            &name::raw(listeners),
            Bound::Times(emit),
        );
    }
    goal("G4", name::TWO_THREADS, &name::handle(1), Bound::Times(1.3));
    for case in [name::UNUSED_TAP, name::UNUSED_LAYER] {
        goal("G5", case, &name::handle(1), Bound::Nanos(0.5));
    }
    goal("G5", name::TRACING_OFF, &name::raw(1), Bound::Nanos(0.5));
    goal("G5", name::QUEUED_UNUSED, name::QUEUED, Bound::Nanos(4.0));
    goal("G6", name::QUEUED, name::MPSC, Bound::Rate(0.7));
    goal("G9", name::LATENCY, name::LATENCY_RAW, Bound::Times(1.3));
    goal("G12", name::QUEUED_LAYER, name::QUEUED, Bound::Nanos(30.0));
    goal(
        "K1",
        name::KAFKA_PUBLISH,
        name::KAFKA_PUBLISH_RAW,
        Bound::Rate(0.95),
    );
    goal(
        "K2",
        name::KAFKA_CONSUME,
        name::KAFKA_CONSUME_RAW,
        Bound::Rate(0.9),
    );
    goal(
        "K3",
        name::KAFKA_SLOW,
        name::KAFKA_SLOW_RAW,
        Bound::Times(1.2),
    );
    goals
}
