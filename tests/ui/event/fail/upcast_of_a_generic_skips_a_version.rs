use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "page", version = 1)]
struct PageV1<T> {
    items: Vec<T>,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "page", version = 3, upcast_from = PageV1<T>)]
struct Page<T> {
    items: Vec<T>,
}

impl<T> From<PageV1<T>> for Page<T> {
    fn from(page: PageV1<T>) -> Self {
        Self { items: page.items }
    }
}

fn main() {
    // Checked when the event is used with its parameters filled in, by a build.
    let _: fn(u32, &tidings::Body<'_>) -> _ = Page::<u8>::from_version;
}
