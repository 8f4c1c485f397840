//! pv-damza
