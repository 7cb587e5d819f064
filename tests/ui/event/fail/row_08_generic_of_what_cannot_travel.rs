use serde::{Deserialize, Serialize};
use tidings::Event;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "page", version = 1)]
struct Page<T> {
    items: Vec<T>,
}

struct Secret;

fn emit<E: Event>(_: E) {}

fn used(page: Page<Secret>) {
    emit(page)
}

fn main() {}
