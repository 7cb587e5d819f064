//! In progress.
#[allow(unused)] use proc_macro as _;
