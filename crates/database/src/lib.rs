//! pv-database
