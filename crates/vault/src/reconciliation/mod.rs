//! Reconciliation: is every shilling explained, or on somebody's list?
//!
//! - [`sentence`]: the one sentence of the home page, from the ledger, the rail's last figures and the core's read-backs;
//! - [`explain`]: the path of anything: intent, transfers, receipt, booking, messages;
//! - [`verify`]: recomputes what the rows and the ledger say of each other, in plain SQL that shares no code with what wrote them;
//! - [`rail`]: weighs each balance of M-Pesa against the ledger's band;
//! - [`core_check`]: reads booked loans again, in rotation.
//!
//! What does not live here: any payout, booking or verdict. Reconciliation posts only what it saw outside (f1, f2, p12) and
//! opens items; it never pays, books or frees anything.

mod books;
pub mod core_check;
pub mod explain;
pub mod movements;
pub mod rail;
pub mod sentence;
pub mod verify;
