//! A payout: one instruction to a rail under one rail id. What happened to it comes in as events ([`machine`]), is written in one place
//! ([`apply`]), and what nobody told us is asked for ([`ask`]).

pub mod apply;
pub mod ask;
pub mod balance;
pub mod machine;
pub mod movements;
pub mod rail_id;
pub mod ruling;
pub(crate) mod store;
