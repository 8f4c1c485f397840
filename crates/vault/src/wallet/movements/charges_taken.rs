//! c2, charges taken, then split behind the log. When: paid.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | P | `wallet:{partner}` | `charges_clearing:{partner}` | posts c1 |
//! | P | `charges_clearing:{partner}` | `rail_tariff:{partner}`, `fee_income`, `tax`, `sms_income` | posted, behind the log |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId},
};
use pv_ledger::{AccountRef, Command, Ending, Key, Posting};

use super::charges_reserved;

/// Posts the hold.
pub fn command(disbursement: DisbursementId, generation: i32, at: DateTime<Utc>) -> Command {
    let key = Key::new(disbursement.uuid(), "c2_charges_taken").generation(generation);
    Ending::new(charges_reserved::key(disbursement, generation), key, at).post()
}

/// The parts of taken charges.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// The rail's tariff, when the wallet pays it.
    pub tariff: Money,
    /// The system fee.
    pub fee: Money,
    /// Tax on it.
    pub tax: Money,
    /// The SMS.
    pub sms: Money,
}

/// Splits what was taken into its parts.
pub fn split(disbursement: DisbursementId, partner: PartnerId, parts: &Parts, at: DateTime<Utc>) -> Vec<Command> {
    let to = [
        ("c2_tariff", super::rail_tariff(partner), parts.tariff),
        ("c2_fee", AccountRef::platform("fee_income"), parts.fee),
        ("c2_tax", AccountRef::platform("tax"), parts.tax),
        ("c2_sms", AccountRef::platform("sms_income"), parts.sms),
    ];
    to.into_iter()
        .filter(|(_, _, amount)| amount.is_positive())
        .map(|(name, credit, amount)| {
            Posting::new(Key::new(disbursement.uuid(), name), super::charges_clearing(partner), credit, amount, at).of_partner(partner).fact()
        })
        .collect()
}
