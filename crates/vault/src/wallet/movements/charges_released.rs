//! c3, charges released. When: the disbursement is over and was not paid.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | P | `wallet:{partner}` | `charges_clearing:{partner}` | voids c1 |

use chrono::{DateTime, Utc};
use pv_kernel::ids::DisbursementId;
use pv_ledger::{Command, Ending, Key};

use super::charges_reserved;

/// Voids the hold.
pub fn command(disbursement: DisbursementId, generation: i32, at: DateTime<Utc>) -> Command {
    let key = Key::new(disbursement.uuid(), "c3_charges_released").generation(generation);
    Ending::new(charges_reserved::key(disbursement, generation), key, at).void()
}
