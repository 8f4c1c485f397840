//! Whole stories against the simulated M-Pesa: M-Pesa contract section 9, items 1 to 6, 9, 10 and 12.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod chance;
mod doors;
mod faults;
mod payments;
mod queries;
mod sockets;
mod world;
