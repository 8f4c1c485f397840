//! p3, paid.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `to_book` | `utility:{shortcode}` | posts p1 |
//! | M | `tariff_cost` | `charges:{shortcode}` | posted, fact: what Safaricom takes from the partner (rule B4, payer `rail`) |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, PayoutId},
};
use pv_ledger::{AccountRef, Command, Ending, Key, Posting};
use uuid::Uuid;

use super::prepared;

/// Posts the hold.
pub fn command(payout: PayoutId, evidence: Uuid, at: DateTime<Utc>) -> Command {
    Ending::new(prepared::key(payout), Key::new(payout.uuid(), "p3_paid"), at).evidence(evidence).post()
}

/// The rail's tariff in the mirror, when there is one.
pub fn tariff(payout: PayoutId, partner: PartnerId, shortcode: &str, amount: Money, at: DateTime<Utc>) -> Option<Command> {
    amount.is_positive().then(|| {
        Posting::new(Key::new(payout.uuid(), "p3_tariff"), AccountRef::mirror(partner, "tariff_cost"), super::charges(partner, shortcode), amount, at)
            .of_partner(partner)
            .fact()
    })
}
