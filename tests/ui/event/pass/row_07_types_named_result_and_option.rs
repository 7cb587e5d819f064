use serde::{Deserialize, Serialize};
use tidings::Event;

mod one {
    use super::*;

    #[derive(Serialize, Deserialize, Event)]
    #[event(name = "exam.result", version = 1, key = student)]
    pub struct Result {
        pub student: String,
    }
}

mod two {
    use super::*;

    #[derive(Serialize, Deserialize, Event)]
    #[event(name = "exam.option", version = 1)]
    pub enum Option {
        Some(u8),
        None,
    }
}

fn main() {
    let result = one::Result { student: "ada".into() };
    assert_eq!(result.key().as_deref(), Some("ada"));
    assert_eq!(two::Option::NAME, "exam.option");
    let _ = (two::Option::Some(1), two::Option::None);
}
