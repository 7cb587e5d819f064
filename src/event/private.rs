//! What the code written by `#[derive(Event)]` names. No part of the public interface: it may
//! change in any release.

pub use core::marker::{PhantomData, Send, Sync};
pub use core::option::Option::{self, Some};
pub use core::primitive::{str, u32};
pub use core::result::Result;
pub use std::string::String;
pub use std::thread_local;

pub use serde::Serialize;
pub use serde::de::DeserializeOwned;

pub use crate::bus::Cache;

pub use super::key::{KeyOfSeveral, key_of_one};
pub use super::upcast::{Link, UpcastTo, chain_mistake, from_version, lineage, refuse};
