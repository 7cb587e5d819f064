use serde::{Deserialize, Serialize};

use super::{Lineage, LineageError};
use crate::Event;

/// Events written by hand: the derive refuses these chains.
macro_rules! events {
    ($($ty:ident: $name:literal $version:literal $(<- $previous:ident)?;)*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $ty;

        impl Event for $ty {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;

            fn lineage(lineage: &mut Lineage) {
                lineage.push::<Self>();
                $(lineage.then::<$previous>();)?
            }
        }
    )*};
}

events! {
    First: "order.placed" 1;
    Second: "order.placed" 2 <- First;
    Third: "order.placed" 3 <- Second;
    Gap: "order.placed" 4 <- Second;
    WideGap: "order.placed" 9 <- Second;
    Renamed: "order.made" 3 <- Second;
    Level: "order.placed" 2 <- Second;
    Zero: "order.placed" 0;
    OverZero: "order.placed" 1 <- Zero;
    Itself: "order.placed" 2 <- Itself;
    Here: "order.placed" 5 <- There;
    There: "order.placed" 4 <- Here;
    OnTop: "order.placed" 6 <- Here;
}

const PATH: &str = "tidings::event::lineage::tests::";

fn error<E: Event>() -> String {
    let error = Lineage::of::<E>().check().expect_err("a broken chain");
    // Paths are the module's business; the test asserts the rest.
    error.to_string().replace(PATH, "")
}

#[test]
fn a_sound_chain_lists_its_versions_newest_first() {
    let lineage = Lineage::of::<Third>();
    assert_eq!(lineage.check(), Ok(()));
    assert!(lineage.versions().eq([3, 2, 1]));
}

#[test]
fn row_11_a_gap_is_shown_in_its_chain() {
    assert_eq!(
        error::<Gap>(),
        "order.placed: v4 (Gap) -> v2 (Second): v3 is missing"
    );
    assert_eq!(
        error::<WideGap>(),
        "order.placed: v9 (WideGap) -> v2 (Second): v3 to v8 are missing"
    );
}

#[test]
fn row_11_a_cycle_is_shown_and_ends() {
    assert_eq!(
        error::<Itself>(),
        "order.placed: v2 (Itself) -> v2 (Itself): Itself is there twice, the chain has no end"
    );
    assert_eq!(
        error::<OnTop>(),
        "order.placed: v6 (OnTop) -> v5 (Here) -> v4 (There) -> v5 (Here): Here is there twice, \
         the chain has no end"
    );
}

#[test]
fn row_11_a_step_that_is_no_older_version_is_shown() {
    assert_eq!(
        error::<Renamed>(),
        "order.made: v3 (Renamed) -> order.placed v2 (Second): versions of one event share its name"
    );
    assert_eq!(
        error::<Level>(),
        "order.placed: v2 (Level) -> v2 (Second): each version is made from the one just below it"
    );
    assert_eq!(
        error::<OverZero>(),
        "order.placed: v1 (OverZero) -> v0 (Zero): versions start at 1"
    );
    assert_eq!(
        error::<Zero>(),
        "order.placed: v0 (Zero): versions start at 1"
    );
}

#[test]
fn a_chain_is_cut_at_its_bound_and_shown_by_its_ends() {
    let mut lineage = Lineage::default();
    for _ in 0..2 * Lineage::MAX_STEPS {
        lineage.push::<First>();
    }
    assert_eq!(lineage.versions().count(), Lineage::MAX_STEPS);

    for (version, step) in (1..).zip(lineage.steps.iter_mut().rev()) {
        step.version = version;
    }
    assert_eq!(
        LineageError::new(&lineage.steps, "why".into())
            .to_string()
            .replace(PATH, ""),
        "order.placed: v1000 (First) -> v999 (First) -> v998 (First) -> v997 (First) -> (992 more) \
         -> v4 (First) -> v3 (First) -> v2 (First) -> v1 (First): why"
    );
}
