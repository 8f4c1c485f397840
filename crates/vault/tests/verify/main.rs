//! The verifier, the path of anything, the sentence and the second look at bookings, on a small true database.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod corruption;
mod explaining;
mod outside;
mod second_look;
mod sentences;
mod world;
