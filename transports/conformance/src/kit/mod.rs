//! What cases are written with.

mod drain;
mod failure;
mod link;
mod member;
mod post;
mod scene;
mod tally;

pub(crate) use drain::{Seen, check_order, drain, publish_while_draining};
pub(crate) use failure::{Failure, Verdict, broken, chain, ensure};
pub(crate) use link::{Link, Spec};
pub(crate) use member::Member;
pub(crate) use post::{body, envelope, key_text, post, read};
pub(crate) use scene::{Scene, Settings};
pub(crate) use tally::Tally;
