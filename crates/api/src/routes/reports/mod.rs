//! What is known: the sentence, the path of anything, the audit trail, and who is asking.

pub mod audit;
pub mod explain;
pub mod me;
pub mod sentence;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![sentence::endpoint(), explain::endpoint(), audit::endpoint(), me::endpoint()]
}
