//! The movements of a booking (ledger rules p5 and p13).

pub mod booked;
