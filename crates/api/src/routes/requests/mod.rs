//! Four eyes: what one person asked for and another decides.

pub mod decide;
pub mod list;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![decide::endpoint(), list::endpoint()]
}
