//! The wallet: the partner's prepaid account that pays charges. Balances are folds of ledger transfers; nothing else changes them.

pub mod adjust;
pub mod fold;
pub mod movements;
pub mod quote;
