//! f1, opening and funding outside. When: the first balance that the rail reports; a person states that float was added or taken
//! out outside.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `utility:{shortcode}` or `charges:{shortcode}` | `owner` | posted, fact: was there at the start, or was added |
//! | M | `owner` | `utility:{shortcode}` or `charges:{shortcode}` | posted, fact: the ledger had more than there was, or it was taken out |

use chrono::{DateTime, Utc};
use pv_kernel::{Money, ids::PartnerId};
use pv_ledger::{AccountRef, Command, Key, Posting};
use uuid::Uuid;

/// The first balance of the utility account. Subject: the shortcode.
pub const OPENING: &str = "f1_opening";
/// What was uncertain about the first balance, once everything that was on its way then has ended. Subject: the shortcode.
pub const OPENING_SETTLED: &str = "f1_opening_settled";
/// The first balance of the charges account. Subject: the shortcode.
pub const OPENING_CHARGES: &str = "f1_opening_charges";
/// A person's statement. Subject: made from shortcode and reference.
pub const FUNDING: &str = "f1_funding";

/// The posting; `None` when there is nothing to post. `amount` may be negative: then it goes the other way.
pub fn posting(key: Key, partner: PartnerId, account: AccountRef, amount: Money, at: DateTime<Utc>) -> Option<Posting> {
    let owner = AccountRef::mirror(partner, "owner");
    let (debit, credit) = if amount.is_positive() { (account, owner) } else { (owner, account) };
    let size = Money::from_minor(amount.minor().saturating_abs());
    (!size.is_zero()).then(|| Posting::new(key, debit, credit, size, at).of_partner(partner))
}

/// The opening of an account of a shortcode, a fact of the rail; `evidence` is the question that it answered.
pub fn opening(key: Key, partner: PartnerId, account: AccountRef, amount: Money, evidence: Uuid, at: DateTime<Utc>) -> Option<Command> {
    posting(key, partner, account, amount, at).map(|p| p.evidence(evidence).fact())
}
