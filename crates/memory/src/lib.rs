//! What the engine asks of the machine's memory: to fetch lines before they are needed, and to lay large tables on huge
//! pages.
//!
//! A walk and a kept answer wait for memory more than for anything else (`docs/decisions/0010-*`). Nothing here changes
//! what a program computes, only when: so the rooms that decide may use it. The `unsafe` that it takes stands in
//! `prefetch.rs` and `huge_pages.rs`, behind functions that are safe to call.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[allow(unsafe_code)]
mod huge_pages;
#[allow(unsafe_code)]
mod prefetch;

pub use huge_pages::HugePages;
pub use prefetch::prefetch;
