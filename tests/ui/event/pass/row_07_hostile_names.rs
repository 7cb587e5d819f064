//! A module that takes every name the generated code could stumble over.

#![allow(dead_code, non_camel_case_types, unused_macros)]

mod hostile {
    pub struct Result;
    pub struct Option;
    pub struct Some;
    pub struct None;
    pub struct Ok;
    pub struct Err;
    pub struct Body;
    pub struct Lineage;
    pub struct DecodeError;
    pub trait Send {}
    pub trait Sync {}
    pub trait KeyPart {}
    pub mod core {}
    pub mod std {}
    pub mod serde {}
    pub mod tidings {}

    #[derive(::serde::Serialize, ::serde::Deserialize)]
    pub struct String(pub u8);
    #[derive(::serde::Serialize, ::serde::Deserialize)]
    pub struct str(pub u8);

    macro_rules! panic {
        ($($anything:tt)*) => {
            compile_error!("not this one")
        };
    }

    impl ::tidings::KeyPart for String {
        fn write_key(&self, text: &mut ::std::string::String) {
            ::tidings::KeyPart::write_key(&self.0, text);
        }
    }

    #[derive(::tidings::Event)]
    #[event(name = "hostile", version = 1, key = text, id = text, topic = "t", source = "s")]
    pub struct First {
        pub text: String,
    }

    #[derive(::tidings::Event)]
    #[event(name = "hostile", version = 2, key = (text, text.0), upcast_from = First)]
    pub struct Second {
        pub text: String,
    }

    impl From<First> for Second {
        fn from(first: First) -> Self {
            Second { text: first.text }
        }
    }
}

/// Types with the names that the generated code gives to its own things.
mod namesakes {
    #[derive(serde::Serialize, serde::Deserialize, tidings::Event)]
    #[event(name = "out", version = 1)]
    pub struct Out {}

    #[derive(serde::Serialize, serde::Deserialize, tidings::Event)]
    #[event(name = "cache", version = 1)]
    pub struct CACHE;

    #[derive(serde::Serialize, serde::Deserialize, tidings::Event)]
    #[event(name = "using", version = 1)]
    pub struct using;

    #[derive(serde::Serialize, serde::Deserialize, tidings::Event)]
    #[event(name = "Cache", version = 1)]
    pub struct Cache;
}

/// By hand: what serde's derives write is not proof against all of the names above.
mod wire {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::hostile;

    macro_rules! by_hand {
        ($($ty:ident),*) => {$(
            impl Serialize for hostile::$ty {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    self.text.serialize(serializer)
                }
            }

            impl<'de> Deserialize<'de> for hostile::$ty {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Ok(hostile::$ty { text: hostile::String::deserialize(deserializer)? })
                }
            }
        )*};
    }

    by_hand!(First, Second);
}

fn main() {
    use tidings::Event;

    let second = hostile::Second { text: hostile::String(7) };
    assert_eq!(second.key().as_deref(), Some("7:7"));
    let first = hostile::First { text: hostile::String(7) };
    assert_eq!(first.natural_id().as_deref(), Some("hostile:7"));
    assert_eq!(hostile::First::SOURCE, Some("s"));
}
