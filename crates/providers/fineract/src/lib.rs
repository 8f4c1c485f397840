//! pv-fineract
