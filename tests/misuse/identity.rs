//! Rows 10, 11, 13: what `start` refuses about events and handlers.

use serde::{Deserialize, Serialize};
use tidings::transport::Reason;
use tidings::{Body, Bus, DecodeError, Event, Lineage};

use crate::kit::{Order, assert_conserved, order, settled};

mod twin {
    use serde::{Deserialize, Serialize};
    use tidings::Event;

    #[derive(Debug, Clone, Serialize, Deserialize, Event)]
    #[event(name = "order.placed", version = 2)]
    pub(super) struct OrderTwin {
        pub(super) order: String,
    }
}

/// Only registered, never emitted: `start` still sees it.
#[tokio::test]
async fn row_10_two_types_of_one_identity_are_refused_at_start_naming_both() {
    let bus = Bus::builder("shop").build().await.unwrap();
    assert!(bus.on(async |_order: Order| {}).is_accepted());
    let second = bus.named("twin").on(async |_order: twin::OrderTwin| {});
    assert!(!second.is_accepted());
    let error = bus.start().await.unwrap_err();
    let problem = &error.problems()[0];
    assert_eq!(error.problems().len(), 1, "{error}");
    assert!(problem.contains("\"order.placed\" version 2"), "{problem}");
    assert!(problem.contains("::kit::Order and"), "{problem}");
    assert!(
        problem.contains("::identity::twin::OrderTwin:"),
        "{problem}"
    );
}

#[tokio::test]
async fn row_10_emits_of_the_second_type_are_refused_and_handed_back() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.on(async |_order: Order| {});
    let twin = twin::OrderTwin {
        order: "ord-7".into(),
    };
    let error = bus.emit(twin).await.unwrap_err();
    assert!(error.is_not_published());
    let Reason::Invalid(why) = error.reason() else {
        panic!("{error:?}")
    };
    assert!(why.contains("OrderTwin"), "{why}");
    assert_eq!(error.into_event().unwrap().order, "ord-7");
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    assert_conserved(&bus, 1);
}

/// Reads version 1 without having a version 2 in between.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Gap {
    order: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "order.gap", version = 1)]
struct GapV1 {
    order: String,
}

impl Event for Gap {
    const NAME: &'static str = "order.gap";
    const VERSION: u32 = 3;

    fn from_version(version: u32, body: &Body<'_>) -> Result<Self, DecodeError> {
        match version {
            3 => body.decode(),
            _ => GapV1::from_version(version, body).map(|old| Self { order: old.order }),
        }
    }

    fn lineage(lineage: &mut Lineage) {
        lineage.push::<Self>();
        lineage.then::<GapV1>();
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ring {
    order: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RingOlder {
    order: String,
}

impl Event for Ring {
    const NAME: &'static str = "order.ring";
    const VERSION: u32 = 2;

    fn lineage(lineage: &mut Lineage) {
        lineage.push::<Self>();
        lineage.then::<RingOlder>();
    }
}

impl Event for RingOlder {
    const NAME: &'static str = "order.ring";
    const VERSION: u32 = 1;

    fn lineage(lineage: &mut Lineage) {
        lineage.push::<Self>();
        lineage.then::<Ring>();
    }
}

#[tokio::test]
async fn row_11_a_gap_and_a_cycle_of_upcasters_are_refused_showing_the_chain() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.on(async |_event: Gap| {});
    bus.on(async |_event: Ring| {});
    let error = bus.start().await.unwrap_err();
    let [gap, ring] = error.problems() else {
        panic!("both at once: {error}")
    };
    assert!(
        gap.contains("order.gap: v3 (") && gap.contains("-> v1 ("),
        "{gap}"
    );
    assert!(gap.ends_with("v2 is missing"), "{gap}");
    assert!(
        ring.contains("order.ring: v2 (") && ring.contains("-> v1 ("),
        "{ring}"
    );
    assert!(ring.contains("has no end"), "{ring}");
    let refused = bus
        .emit(Gap {
            order: "ord-1".into(),
        })
        .await
        .unwrap_err();
    assert!(refused.is_not_published());
    assert!(
        matches!(refused.reason(), Reason::Invalid(why) if why == gap),
        "{refused:?}"
    );
    assert_eq!(refused.event().order, "ord-1");
}

#[tokio::test]
async fn row_13_two_handlers_of_one_name_are_refused_at_start_and_at_each_emit() {
    let bus = Bus::builder("shop").build().await.unwrap();
    assert!(
        bus.named("charge")
            .on(async |_order: Order| {})
            .is_accepted()
    );
    assert!(
        !bus.named("charge")
            .on(async |_order: Order| {})
            .is_accepted()
    );
    let error = bus.start().await.unwrap_err();
    let problem = &error.problems()[0];
    assert!(
        problem.contains("two handlers named \"charge\""),
        "{problem}"
    );
    assert_eq!(
        problem.matches("identity.rs:").count(),
        2,
        "both places: {problem}"
    );
    assert!(problem.contains(".named(\"…\")"), "the fix: {problem}");
    let refused = bus.emit(order(1)).await.unwrap_err();
    assert!(
        matches!(refused.reason(), Reason::Invalid(why) if why == problem),
        "{refused:?}"
    );
    assert_eq!(refused.into_event().unwrap(), order(1));
}

#[tokio::test]
async fn row_13_two_unnamed_closures_of_one_event_are_told_to_take_names() {
    let bus = Bus::builder("shop").build().await.unwrap();
    bus.on(async |_order: Order| {});
    bus.on(async |_order: Order| {});
    let error = bus.start().await.unwrap_err();
    assert!(
        error.problems()[0].contains("need names: write `.named"),
        "{error}"
    );
    let error = bus.try_emit(order(1)).unwrap_err();
    assert!(error.is_not_published() && matches!(error.reason(), Reason::Invalid(_)));
}

/// Two groups may each have a handler of one name.
#[tokio::test]
async fn row_13_one_name_in_two_groups_is_no_conflict() {
    let bus = Bus::builder("shop").build().await.unwrap();
    for group in ["billing", "audit"] {
        assert!(
            bus.group(group)
                .named("charge")
                .on(async |_order: Order| {})
                .is_accepted()
        );
    }
    bus.start().await.unwrap();
    bus.emit(order(1)).await.unwrap();
    settled(&bus).await;
    for group in ["billing", "audit"] {
        assert_eq!(bus.group(group).stats().unwrap().completed, 1);
    }
}
