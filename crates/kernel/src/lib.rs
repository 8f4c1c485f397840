//! pv-kernel
