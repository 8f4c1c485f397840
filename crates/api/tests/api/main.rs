//! Whole requests through the whole frame, against a database of their own. Nothing outside is called but what a fake answers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod document;
mod doors;
mod flows;
mod hostile;
mod keys_once;
mod limits;
mod shapes;
mod support;
mod tenancy;
