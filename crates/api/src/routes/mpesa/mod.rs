//! Paying by M-Pesa without a loan, and asking about any payment.

pub mod pay;
pub mod query;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![pay::endpoint(), query::endpoint()]
}
