//! pv-sandbox
