use serde::{Deserialize, Serialize};
use tidings::Event;

macro_rules! event {
    ($ty:ident, $name:literal, $version:literal, $field:ident: $kind:ty) => {
        #[derive(Serialize, Deserialize, Event)]
        #[event(name = $name, version = $version, key = $field, id = ($field, hidden))]
        struct $ty {
            $field: $kind,
            hidden: u8,
        }
    };
}

macro_rules! next {
    ($ty:ident, $previous:ty) => {
        #[derive(Serialize, Deserialize, Event)]
        #[event(name = "order.placed", version = 2, upcast_from = $previous)]
        struct $ty;

        impl From<$previous> for $ty {
            fn from(_: $previous) -> Self {
                $ty
            }
        }
    };
}

fn main() {
    event!(Placed, "order.placed", 1, order: String);
    next!(PlacedAgain, Placed);

    let event = Placed { order: "o".into(), hidden: 1 };
    assert_eq!(event.key().as_deref(), Some("o"));
    assert_eq!(event.natural_id().as_deref(), Some("order.placed:o:1"));
    assert_eq!(PlacedAgain::VERSION, 2);
}
