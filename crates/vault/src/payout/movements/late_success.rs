//! p6, late success after p4, with nothing else paid. A fact.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `to_book` | `utility:{shortcode}` | posted, fact |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, PayoutId},
};
use pv_ledger::{Command, Key, Posting};
use uuid::Uuid;

/// The fact.
pub fn command(payout: PayoutId, partner: PartnerId, shortcode: &str, amount: Money, evidence: Uuid, at: DateTime<Utc>) -> Command {
    Posting::new(Key::new(payout.uuid(), "p6_late_success"), super::to_book(partner), super::utility(partner, shortcode), amount, at)
        .of_partner(partner)
        .evidence(evidence)
        .fact()
}
