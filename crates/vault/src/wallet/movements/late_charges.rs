//! c4, late success after the release. When: evidence that a released disbursement was paid after all. A fact: it may drive the
//! wallet negative (rule B6).
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | P | `wallet:{partner}` | `charges_clearing:{partner}` | posted, fact |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId},
};
use pv_ledger::{Command, Key, Posting};

/// The fact.
pub fn command(disbursement: DisbursementId, partner: PartnerId, amount: Money, at: DateTime<Utc>) -> Command {
    Posting::new(Key::new(disbursement.uuid(), "c4_late_charges"), super::wallet(partner), super::charges_clearing(partner), amount, at)
        .of_partner(partner)
        .fact()
}
