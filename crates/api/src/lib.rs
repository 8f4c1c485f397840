//! pv-api
