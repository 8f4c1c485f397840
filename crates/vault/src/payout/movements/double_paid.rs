//! p7, a second success. A fact; what is to be got back stands in `recover`.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `recover` | `utility:{shortcode}` | posted, fact |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, PayoutId},
};
use pv_ledger::{AccountRef, Command, Key, Posting};
use uuid::Uuid;

/// The fact.
pub fn command(payout: PayoutId, partner: PartnerId, shortcode: &str, amount: Money, evidence: Uuid, at: DateTime<Utc>) -> Command {
    Posting::new(Key::new(payout.uuid(), "p7_double_paid"), AccountRef::mirror(partner, "recover"), super::utility(partner, shortcode), amount, at)
        .of_partner(partner)
        .evidence(evidence)
        .fact()
}
