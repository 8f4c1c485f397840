//! The outside world, simulated from the contracts: the same wire, faults on demand, virtual phones that hold the truth.
//!
//! Nothing here imports a client of the product, so that one misreading of a contract cannot hide in both.

pub mod damza;
pub mod daraja;
pub mod mifos;
pub mod phones;
pub mod random;
pub mod serve;
pub mod wire;
