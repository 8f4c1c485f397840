//! pv-daraja
