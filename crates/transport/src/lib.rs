//! pv-transport
