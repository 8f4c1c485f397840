//! The movements of reconciliation, one file each (ledger rules f1, f2 and p12).

pub mod funding;
pub mod undone;
pub mod unexplained;
