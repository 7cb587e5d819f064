use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize)]
struct Inner {
    r#fn: u8,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "raw", version = 1, key = (r#type, r#match.r#fn, plain), id = r#type)]
#[allow(non_camel_case_types)]
struct r#struct {
    r#type: String,
    r#match: Inner,
    r#plain: u8,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "raw", version = 2, upcast_from = r#struct)]
struct Next;

impl From<r#struct> for Next {
    fn from(_: r#struct) -> Self {
        Next
    }
}

fn main() {
    let event = r#struct { r#type: "t".into(), r#match: Inner { r#fn: 1 }, plain: 2 };
    assert_eq!(event.key().as_deref(), Some("t:1:2"));
    assert_eq!(event.natural_id().as_deref(), Some("raw:t"));
}
