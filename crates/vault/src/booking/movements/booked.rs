//! p5, booked in the core; p13, cents left out.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `core` | `to_book` | posted: what was paid (whole shillings) |
//! | M | `core` | `rounding` | posted: the cents that the core books and M-Pesa cannot pay (rule A17, policy `floor`) |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId},
};
use pv_ledger::{AccountRef, Command, Key, Posting};

use crate::payout::movements::to_book;

/// The postings. `movement` is `p5_booked`, or `p5_nothing_to_book` for a payment that has no core.
pub fn commands(
    disbursement: DisbursementId,
    partner: PartnerId,
    movement: &'static str,
    paid: Money,
    cents: Money,
    at: DateTime<Utc>,
) -> Vec<Command> {
    let core = || AccountRef::mirror(partner, "core");
    let mut commands = vec![Posting::new(Key::new(disbursement.uuid(), movement), core(), to_book(partner), paid, at).of_partner(partner).fact()];
    if cents.is_positive() {
        let key = Key::new(disbursement.uuid(), "p13_cents");
        commands.push(Posting::new(key, core(), AccountRef::mirror(partner, "rounding"), cents, at).of_partner(partner).fact());
    }
    commands
}
