//! The list of properties, one named case each.

mod bounds;
mod browse;
mod close;
mod crash;
mod fault;
mod groups;
mod limits;
mod order;
mod outcome;
mod publish;
mod replay;
mod resume;
mod settle;
mod start;

pub(crate) use bounds::LOAD;

use std::future::Future;
use std::pin::Pin;

use tidings_transport::Capability;

use crate::harness::Fault;
use crate::kit::{Scene, Verdict};
use crate::report::Requirement;

/// One property of the contract.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The contract's number, or the part of the SPI that promises it.
    pub(crate) contract: &'static str,
    pub(crate) needs: &'static [Requirement],
    pub(crate) run: fn(Scene) -> CaseFuture,
}

pub(crate) type CaseFuture = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Every case, in the order of the list.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        publish::CASES,
        outcome::CASES,
        limits::CASES,
        order::CASES,
        settle::CASES,
        groups::CASES,
        start::CASES,
        resume::CASES,
        crash::CASES,
        fault::CASES,
        replay::CASES,
        close::CASES,
        bounds::CASES,
        browse::CASES,
    ]
    .into_iter()
    .flatten()
}

impl Case {
    /// Whether it disturbs the broker that other cases use.
    pub(crate) fn runs_alone(&self) -> bool {
        self.needs.contains(&RESTART)
    }
}

// Short names for the lists of needs.
const ORDER: Requirement = Requirement::Capability(Capability::Order);
const GROUPS: Requirement = Requirement::Capability(Capability::Groups);
const RETAINS: Requirement = Requirement::Capability(Capability::Retains);
const REPLAY: Requirement = Requirement::Capability(Capability::Replay);
const DELAY: Requirement = Requirement::Capability(Capability::Delay);
const CONFIRMS: Requirement = Requirement::Capability(Capability::Confirms);
const ATTEMPTS: Requirement = Requirement::Capability(Capability::AttemptCount);
const BROWSE: Requirement = Requirement::Capability(Capability::Browse);
const LAG: Requirement = Requirement::Capability(Capability::Lag);
const DURABLE: Requirement = Requirement::Capability(Capability::Durable);
const DISCONNECT: Requirement = Requirement::Fault(Fault::DropConnection);
const LOST_CONFIRMS: Requirement = Requirement::Fault(Fault::LoseConfirms);
const UNREACHABLE: Requirement = Requirement::Fault(Fault::Unreachable);
const RESTART: Requirement = Requirement::Fault(Fault::RestartBroker);
const CANCEL: Requirement = Requirement::Fault(Fault::CancelConsumer);

/// `cases!("group": function [contract] (needs), ...)`: the list of a module.
macro_rules! cases {
    ($group:literal: $($function:ident [$contract:literal] ($($need:expr),*);)+) => {
        pub(super) const CASES: &[$crate::cases::Case] = &[$(
            $crate::cases::Case {
                name: concat!($group, "::", stringify!($function)),
                contract: $contract,
                needs: &[$($need),*],
                run: |scene| Box::pin($function(scene)),
            },
        )+];
    };
}
use cases;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_flag_of_the_spi_has_a_case() {
        let names: HashSet<_> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), all().count());
        for capability in Capability::ALL {
            let need = Requirement::Capability(capability);
            // The SPI has no call for it yet, so there is nothing to check.
            let unchecked = capability == Capability::Transactions;
            assert_ne!(
                all().any(|case| case.needs.contains(&need)),
                unchecked,
                "{capability}"
            );
        }
    }
}
