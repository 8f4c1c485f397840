//! The simulated Mifos X host against the checklist of the Mifos X contract (section 12), on both release lines.

mod access;
mod chance;
mod commands;
mod faults;
mod hooks;
mod lists;
mod loans;
mod money_back;
mod search;
mod world;
