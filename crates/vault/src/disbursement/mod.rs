//! A disbursement: one decision to pay a borrower.
//!
//! The way of a loan: a sighting ([`sighting`]) makes the loan be read ([`intake`], also by [`poll`]); a disbursement is made, one for
//! ever per identity (rule A1); [`pay`] reads the loan again, weighs it ([`checks`]), reserves the charges, writes the payout and sends it. What the
//! rail says comes back through [`crate::payout`], and [`machine`] says what it means here. What persons do stands in [`commands`].

pub mod checks;
pub mod commands;
pub mod intake;
pub mod machine;
pub mod names;
pub mod pay;
pub mod poll;
pub mod sighting;
pub(crate) mod store;
pub mod view;
