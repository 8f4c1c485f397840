//! Approved loans of the core: read now, or started by name.

pub mod disburse;
pub mod fetch;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![fetch::endpoint(), disburse::endpoint()]
}
