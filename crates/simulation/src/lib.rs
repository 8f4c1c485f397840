//! pv-simulation
