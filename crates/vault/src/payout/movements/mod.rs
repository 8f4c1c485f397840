//! The movements of a payout in the partner's mirror book, one file each (ledger rules p1 to p10).

pub mod double_paid;
pub mod late_success;
pub mod not_paid;
pub mod paid;
pub mod prepared;
pub mod returned;

use pv_kernel::ids::PartnerId;
use pv_ledger::AccountRef;

/// `to_book`: paid, not booked.
pub fn to_book(partner: PartnerId) -> AccountRef {
    AccountRef::mirror(partner, "to_book")
}

/// `utility:{shortcode}`: the float.
pub fn utility(partner: PartnerId, shortcode: &str) -> AccountRef {
    AccountRef::mirror(partner, format!("utility:{shortcode}"))
}

/// `charges:{shortcode}`: the account Safaricom's tariff is taken from.
pub fn charges(partner: PartnerId, shortcode: &str) -> AccountRef {
    AccountRef::mirror(partner, format!("charges:{shortcode}"))
}
