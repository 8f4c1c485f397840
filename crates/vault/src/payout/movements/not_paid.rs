//! p4, not paid.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | M | `to_book` | `utility:{shortcode}` | voids p1 |

use chrono::{DateTime, Utc};
use pv_kernel::ids::PayoutId;
use pv_ledger::{Command, Ending, Key};
use uuid::Uuid;

use super::prepared;

/// Voids the hold.
pub fn command(payout: PayoutId, evidence: Uuid, at: DateTime<Utc>) -> Command {
    Ending::new(prepared::key(payout), Key::new(payout.uuid(), "p4_not_paid"), at).evidence(evidence).void()
}
