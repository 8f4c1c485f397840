//! f2, unexplained at the rail. When: a balance lies outside the ledger's band twice in a row. Reversed when it is explained; at
//! most one stands at a time per shortcode.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `utility:{shortcode}` | `difference` | posted, fact: M-Pesa shows more than the ledger can explain |
//! | M | `difference` | `utility:{shortcode}` | posted, fact: M-Pesa shows less |
//! | M | the same accounts the other way round | | posted, fact, `corrects`: explained (x1) |

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{PartnerId, TransferId},
};
use pv_ledger::{AccountRef, Command, Key, Posting};
use uuid::Uuid;

use crate::payout::movements::utility;

/// The difference that stands.
pub const UNEXPLAINED: &str = "f2_unexplained";
/// Its reversal, under the same generation.
pub const REVERSED: &str = "f2_reversed";

/// Where it stands: the shortcode, and how many differences it has had.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The shortcode's row: the subject.
    pub id: Uuid,
    /// Its number.
    pub shortcode: &'a str,
    /// Whose.
    pub partner: PartnerId,
    /// From 1.
    pub generation: i32,
}

/// The difference; `amount` is what M-Pesa has more than the ledger, negative when it has less. Not zero.
pub fn command(place: &Place<'_>, amount: Money, evidence: Option<Uuid>, at: DateTime<Utc>) -> Command {
    finish(posting(place, UNEXPLAINED, amount, at), evidence)
}

/// Takes the difference back.
pub fn reverse(place: &Place<'_>, amount: Money, corrects: TransferId, evidence: Option<Uuid>, at: DateTime<Utc>) -> Command {
    let back = Money::from_minor(amount.minor().saturating_neg());
    finish(posting(place, REVERSED, back, at).corrects(corrects), evidence)
}

fn posting(place: &Place<'_>, movement: &'static str, amount: Money, at: DateTime<Utc>) -> Posting {
    let (utility, difference) = (utility(place.partner, place.shortcode), AccountRef::mirror(place.partner, "difference"));
    let (debit, credit) = if amount.is_positive() { (utility, difference) } else { (difference, utility) };
    let key = Key::new(place.id, movement).generation(place.generation);
    Posting::new(key, debit, credit, Money::from_minor(amount.minor().saturating_abs()), at).of_partner(place.partner)
}

fn finish(posting: Posting, evidence: Option<Uuid>) -> Command {
    match evidence {
        Some(evidence) => posting.evidence(evidence).fact(),
        None => posting.fact(),
    }
}
