//! The movements of charges, one file each (ledger rules c1 to c5 and x1).

pub mod adjusted;
pub mod charges_released;
pub mod charges_reserved;
pub mod charges_taken;
pub mod late_charges;

use pv_kernel::ids::PartnerId;
use pv_ledger::AccountRef;

/// `wallet:{partner}` in the platform's book.
pub fn wallet(partner: PartnerId) -> AccountRef {
    AccountRef::platform(format!("wallet:{partner}"))
}

/// `charges_clearing:{partner}` in the platform's book.
pub fn charges_clearing(partner: PartnerId) -> AccountRef {
    AccountRef::platform(format!("charges_clearing:{partner}"))
}

/// `rail_tariff:{partner}` in the platform's book.
pub fn rail_tariff(partner: PartnerId) -> AccountRef {
    AccountRef::platform(format!("rail_tariff:{partner}"))
}
