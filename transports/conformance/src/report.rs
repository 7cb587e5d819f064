use std::collections::BTreeSet;
use std::fmt;

use tidings_transport::{Capabilities, Capability};

use crate::cases::{self, Case};
use crate::harness::Fault;

/// What a case needs to be run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// A flag that the transport declares.
    Capability(Capability),
    /// A fault that the harness can inject.
    Fault(Fault),
    /// [`Harness::resident_bound`](crate::Harness::resident_bound).
    ResidentBound,
    /// Groups that live in this process: the transport is not `durable`.
    InProcess,
    /// A size limit low enough to be exceeded in a test.
    SizeLimit,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(capability) => write!(f, "capability {capability}"),
            Self::Fault(fault) => write!(f, "harness fault {fault}"),
            Self::ResidentBound => f.write_str("harness hook resident_bound"),
            Self::InProcess => f.write_str("groups that live in this process"),
            Self::SizeLimit => f.write_str("a max_size of at most 256 MiB"),
        }
    }
}

/// How one run of a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The property holds.
    Passed,
    /// It does not; the text says which contract number and what was seen.
    Failed(String),
    /// It was not asked, for this reason.
    Ignored(String),
}

/// One run of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// `group::case`.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

/// What a run of the suite found.
///
/// Its `Display` is the table of declared against proven capabilities.
#[derive(Clone, Debug)]
pub struct Report {
    capabilities: Capabilities,
    runs: Vec<CaseReport>,
}

/// How far a capability is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The transport does not claim it.
    NotDeclared,
    /// Cases that need it passed and none failed.
    Proven {
        /// How many passed.
        passed: usize,
        /// How many were ignored for want of something else.
        ignored: usize,
    },
    /// These cases that need it failed.
    Refuted(Vec<&'static str>),
    /// Some case that needs it was filtered out.
    NotRun,
    /// No case that needs it could be run: a claim without evidence.
    Unproven,
}

impl Report {
    pub(crate) fn new(capabilities: Capabilities, runs: Vec<CaseReport>) -> Self {
        Self { capabilities, runs }
    }

    /// What the transport declares.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// All runs, one per case and round.
    #[must_use]
    pub fn runs(&self) -> &[CaseReport] {
        &self.runs
    }

    /// The names of the cases that failed at least once.
    #[must_use]
    pub fn failed(&self) -> BTreeSet<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// The names of the cases that passed at least once.
    #[must_use]
    pub fn passed(&self) -> BTreeSet<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::Passed))
    }

    /// Whether nothing failed and no declared capability was left [`Proof::Unproven`].
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed().is_empty() && self.unproven().is_empty()
    }

    /// Declared capabilities without a case that could be run.
    #[must_use]
    pub fn unproven(&self) -> Vec<Capability> {
        Capability::ALL
            .into_iter()
            .filter(|capability| self.proof(*capability) == Proof::Unproven)
            .collect()
    }

    /// How far one capability is proven.
    #[must_use]
    pub fn proof(&self, capability: Capability) -> Proof {
        if !self.capabilities.has(capability) {
            return Proof::NotDeclared;
        }
        self.evidence(Requirement::Capability(capability))
    }

    fn evidence(&self, requirement: Requirement) -> Proof {
        let cases: Vec<&Case> = cases::all()
            .filter(|case| case.needs.contains(&requirement))
            .collect();
        let (mut passed, mut ignored, mut refuted, mut missing) = (0, 0, Vec::new(), false);
        for case in cases {
            let mut runs = self
                .runs
                .iter()
                .filter(|run| run.name == case.name)
                .peekable();
            missing |= runs.peek().is_none();
            for run in runs {
                match run.outcome {
                    Outcome::Passed => passed += 1,
                    Outcome::Ignored(_) => ignored += 1,
                    Outcome::Failed(_) => refuted.push(case.name),
                }
            }
        }
        refuted.dedup();
        match (refuted.is_empty(), missing, passed) {
            (false, _, _) => Proof::Refuted(refuted),
            (true, true, _) => Proof::NotRun,
            (true, false, 0) => Proof::Unproven,
            (true, false, _) => Proof::Proven { passed, ignored },
        }
    }

    fn names(&self, wanted: impl Fn(&Outcome) -> bool) -> BTreeSet<&'static str> {
        let runs = self.runs.iter().filter(|run| wanted(&run.outcome));
        runs.map(|run| run.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<15} {:<11} proven", "capability", "declared")?;
        for capability in Capability::ALL {
            let declared = if self.capabilities.has(capability) {
                "yes"
            } else {
                "no"
            };
            writeln!(
                f,
                "{capability:<15} {declared:<11} {}",
                self.proof(capability)
            )?;
        }
        let size = format!("{} B", self.capabilities.max_size);
        let proof = self.evidence(Requirement::SizeLimit);
        writeln!(f, "{:<15} {size:<11} {proof}", "max size")
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDeclared => f.write_str("-"),
            Self::Proven { passed, ignored: 0 } => write!(f, "yes ({passed} passed)"),
            Self::Proven { passed, ignored } => {
                write!(f, "yes ({passed} passed, {ignored} ignored)")
            }
            Self::Refuted(cases) => write!(f, "NO: {} failed", cases.join(", ")),
            Self::NotRun => f.write_str("not run"),
            Self::Unproven => f.write_str("NO: no case could be run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: impl Fn(&Case) -> Option<Outcome>) -> Report {
        let capabilities = Capabilities {
            delay: true,
            lag: true,
            ..Capabilities::none(1)
        };
        let runs = cases::all().filter_map(|case| {
            Some(CaseReport {
                name: case.name,
                outcome: outcome(case)?,
            })
        });
        Report::new(capabilities, runs.collect())
    }

    #[test]
    fn an_ignored_case_proves_nothing() {
        let report = report(|_| Some(Outcome::Ignored(String::new())));
        assert_eq!(report.unproven(), [Capability::Delay, Capability::Lag]);
        assert!(report.failed().is_empty() && !report.is_ok());
    }

    #[test]
    fn a_filtered_run_says_not_run() {
        let report = report(|case| case.name.contains("delay").then_some(Outcome::Passed));
        assert!(matches!(
            report.proof(Capability::Delay),
            Proof::Proven { ignored: 0, .. }
        ));
        assert_eq!(report.proof(Capability::Lag), Proof::NotRun);
        assert_eq!(report.proof(Capability::Browse), Proof::NotDeclared);
        assert!(
            report
                .to_string()
                .contains("lag             yes         not run")
        );
    }

    #[test]
    fn one_red_case_refutes_a_capability_by_name() {
        let report = report(|case| {
            Some(match case.name.contains("delay") {
                true => Outcome::Failed(String::new()),
                false => Outcome::Passed,
            })
        });
        assert!(
            matches!(report.proof(Capability::Delay), Proof::Refuted(cases) if !cases.is_empty())
        );
        assert!(!report.is_ok());
    }
}
