//! pv-hooks
