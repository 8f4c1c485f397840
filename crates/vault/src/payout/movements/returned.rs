//! p10, returned by the rail (rule A14): a fact with its own receipt; never paid again by itself.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `utility:{shortcode}` | `to_book` | posted, fact; while it is not booked |
//! | M | `utility:{shortcode}` | `owed` | posted, fact; once it is booked: the customer owes and has no money |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, PayoutId},
};
use pv_ledger::{AccountRef, Command, Key, Posting};
use uuid::Uuid;

/// The fact.
pub fn command(payout: PayoutId, partner: PartnerId, shortcode: &str, amount: Money, booked: bool, evidence: Uuid, at: DateTime<Utc>) -> Command {
    let credit = if booked { AccountRef::mirror(partner, "owed") } else { super::to_book(partner) };
    Posting::new(Key::new(payout.uuid(), "p10_returned"), super::utility(partner, shortcode), credit, amount, at)
        .of_partner(partner)
        .evidence(evidence)
        .fact()
}
