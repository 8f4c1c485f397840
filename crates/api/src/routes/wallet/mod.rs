//! The partner's prepaid wallet.

pub mod adjust;
pub mod balance;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![balance::endpoint(), adjust::endpoint()]
}
