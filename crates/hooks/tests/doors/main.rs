//! The doors on a real database: what is stored, what is answered, what is woken.

#![expect(clippy::unwrap_used, reason = "tests")]

mod approvals;
mod callbacks;
mod world;
