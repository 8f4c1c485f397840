//! Booking a paid loan in the core: an independent fact with a life of its own (rule A22). It is never undone by us, and a payout is never
//! repeated for it. The answer to a booking is never the truth; what the core reads back is.

pub mod machine;
pub mod movements;
pub mod step;
pub(crate) mod store;
