//! The ledger on a real PostgreSQL: posting, races, reading, rights, and the verifier against planted faults.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod corruption;
mod model;
mod posting;
mod races;
mod random;
mod reading;
mod rights;
mod support;
