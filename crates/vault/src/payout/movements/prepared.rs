//! p1, payout prepared: in the same transaction as its id. p2, unknown: nothing moves, p1 and c1 stay.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `to_book` | `utility:{shortcode}` | pending |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, PayoutId},
};
use pv_ledger::{Command, Key, Posting};

/// The key of the float hold: one per payout (rule B7).
pub fn key(payout: PayoutId) -> Key {
    Key::new(payout.uuid(), "p1_payout_prepared")
}

/// The hold.
pub fn command(payout: PayoutId, partner: PartnerId, shortcode: &str, amount: Money, at: DateTime<Utc>) -> Command {
    Posting::new(key(payout), super::to_book(partner), super::utility(partner, shortcode), amount, at).of_partner(partner).hold()
}
