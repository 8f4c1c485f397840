//! p12, a booking undone by somebody. When: a loan that was booked is read again, and the core does not show the booking (any more)
//! as it was. Reversed when the core shows it again; at most one stands at a time per disbursement.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `to_book` | `core` | posted, fact: paid, and not booked any more |
//! | M | `rounding` | `core` | posted, fact: the cents that were booked with it (p13) |
//! | M | the same accounts the other way round | | posted, fact, `corrects`: the core shows it again (x1) |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId, TransferId},
};
use pv_ledger::{AccountRef, Command, Key, Posting};

use crate::payout::movements::to_book;

/// The booking is gone.
pub const UNDONE: &str = "p12_undone";
/// Its cents.
pub const UNDONE_CENTS: &str = "p12_undone_cents";
/// It is there again, under the same generation.
pub const FOUND_AGAIN: &str = "p12_found_again";
/// Its cents.
pub const FOUND_AGAIN_CENTS: &str = "p12_found_again_cents";

/// Whose booking, and for the how-manieth time.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The disbursement: the subject.
    pub disbursement: DisbursementId,
    /// Whose.
    pub partner: PartnerId,
    /// From 1.
    pub generation: i32,
}

/// What was booked: the payment in whole shillings, and the cents.
#[derive(Debug, Clone, Copy)]
pub struct Booked {
    /// As p5 posted it.
    pub paid: Money,
    /// As p13 posted it.
    pub cents: Money,
}

/// The booking is gone.
pub fn undone(place: Place, booked: Booked, at: DateTime<Utc>) -> Vec<Command> {
    let core = || AccountRef::mirror(place.partner, "core");
    let mut commands = vec![posting(place, UNDONE, to_book(place.partner), core(), booked.paid, at).fact()];
    if booked.cents.is_positive() {
        commands.push(posting(place, UNDONE_CENTS, AccountRef::mirror(place.partner, "rounding"), core(), booked.cents, at).fact());
    }
    commands
}

/// The booking is there again. `paid` and `cents` are the transfers that said it was gone.
pub fn found_again(place: Place, booked: Booked, paid: TransferId, cents: Option<TransferId>, at: DateTime<Utc>) -> Vec<Command> {
    let core = || AccountRef::mirror(place.partner, "core");
    let mut commands = vec![posting(place, FOUND_AGAIN, core(), to_book(place.partner), booked.paid, at).corrects(paid).fact()];
    if let Some(cents) = cents {
        commands
            .push(posting(place, FOUND_AGAIN_CENTS, core(), AccountRef::mirror(place.partner, "rounding"), booked.cents, at).corrects(cents).fact());
    }
    commands
}

fn posting(place: Place, movement: &'static str, debit: AccountRef, credit: AccountRef, amount: Money, at: DateTime<Utc>) -> Posting {
    Posting::new(Key::new(place.disbursement.uuid(), movement).generation(place.generation), debit, credit, amount, at).of_partner(place.partner)
}
