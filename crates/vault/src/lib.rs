//! pv-vault
