use std::num::TryFromIntError;

use serde::{Deserialize, Serialize};
use tidings::{Event, Lineage};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "reading.taken", version = 1)]
struct V1 {
    value: i64,
}

mod second {
    use super::*;

    #[derive(Serialize, Deserialize, Event)]
    #[event(name = "reading.taken", version = 2, upcast_from = super::V1)]
    pub struct Reading {
        pub value: u32,
    }
}

impl TryFrom<V1> for second::Reading {
    type Error = TryFromIntError;

    fn try_from(old: V1) -> Result<Self, Self::Error> {
        Ok(Self { value: u32::try_from(old.value)? })
    }
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "reading.taken", version = 3, upcast_from = crate::second::Reading)]
struct V3 {
    value: u64,
}

impl From<second::Reading> for V3 {
    fn from(old: second::Reading) -> Self {
        Self { value: old.value.into() }
    }
}

fn main() {
    let lineage = Lineage::of::<V3>();
    assert!(lineage.versions().eq([3, 2, 1]));
    assert!(lineage.check().is_ok());
}
