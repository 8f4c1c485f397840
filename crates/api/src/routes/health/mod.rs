//! Whether the process lives, and whether it should get requests.

pub mod healthz;
pub mod readyz;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![healthz::endpoint(), readyz::endpoint()]
}
