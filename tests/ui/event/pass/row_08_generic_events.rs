use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidings::{Event, KeyPart};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "page", version = 1, key = first)]
struct PageV1<T> {
    first: T,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "page", version = 2, key = (cursor, size), upcast_from = PageV1<C>)]
struct Page<C, T = u8>
where
    C: Default,
{
    cursor: C,
    size: u32,
    items: Vec<T>,
}

impl<C: Default, T> From<PageV1<C>> for Page<C, T> {
    fn from(page: PageV1<C>) -> Self {
        Page { cursor: page.first, size: 0, items: Vec::new() }
    }
}

/// Not serialisable itself, and need not be.
struct Marker;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "tagged", version = 1, key = id)]
struct Tagged<T, const N: usize> {
    id: u64,
    #[serde(skip)]
    tag: PhantomData<fn() -> T>,
}

fn key_of<C>(cursor: C) -> Option<String>
where
    C: Default + KeyPart + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    Page::<C, u8> { cursor, size: 3, items: vec![] }.key()
}

fn main() {
    assert_eq!(key_of(String::from("a:")).as_deref(), Some("a\\::3"));
    let page = Page::<u8, bool>::from(PageV1 { first: 1 });
    assert_eq!(page.key().as_deref(), Some("1:0"));
    let tagged = Tagged::<Marker, 4> { id: 9, tag: PhantomData };
    assert_eq!(tagged.key().as_deref(), Some("9"));
}
