//! c1, charges reserved. When: a send is wanted.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | P | `wallet:{partner}` | `charges_clearing:{partner}` | pending |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId},
};
use pv_ledger::{Command, Key, Posting};

/// The key of the hold: one per disbursement and reservation (rule B7).
pub fn key(disbursement: DisbursementId, generation: i32) -> Key {
    Key::new(disbursement.uuid(), "c1_charges_reserved").generation(generation)
}

/// The hold.
pub fn command(
    disbursement: DisbursementId,
    generation: i32,
    partner: PartnerId,
    amount: Money,
    quote: serde_json::Value,
    at: DateTime<Utc>,
) -> Command {
    Posting::new(key(disbursement, generation), super::wallet(partner), super::charges_clearing(partner), amount, at)
        .of_partner(partner)
        .detail(quote)
        .hold()
}
