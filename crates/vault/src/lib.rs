//! The business of Payment Vault, a folder per noun.
//!
//! A use case reads like a story: load, decide, post, commit. Deciding is pure (`machine.rs`, `checks.rs`), SQL stands beside the
//! noun that owns the table (`store.rs`), postings stand one per file in `movements/`, and background work is a step
//! (`steps.rs` or a file named after the step) that takes a batch of due rows. Nothing here sleeps, spawns or selects: the
//! binary and the simulation do that, each in its own way.

pub mod audit;
pub mod booking;
pub mod disbursement;
pub mod engine;
pub mod error;
pub mod idempotency;
pub mod item;
pub mod message;
pub mod notification;
pub mod outbox;
pub mod partner;
pub mod payout;
pub mod reconciliation;
pub mod secret;
pub mod stop;
pub mod wallet;

pub use engine::{Engine, EngineLimits};
pub use error::VaultError;
