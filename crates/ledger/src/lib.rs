//! pv-ledger
