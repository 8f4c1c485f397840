//! x1, a wallet adjusted by a person, with a reason. A credit stands against `bank_incoming`: money of the partner that is said to have
//! arrived, until the bank line shows it.
//!
//! | book | debit | credit | |
//! |---|---|---|---|
//! | P | `bank_incoming` | `wallet:{partner}` | posted (credit) |
//! | P | `wallet:{partner}` | `bank_incoming` | posted (debit; refused below zero) |

use chrono::{DateTime, Utc};
use pv_kernel::{Money, ids::PartnerId};
use pv_ledger::{AccountRef, Command, Key, Posting};
use uuid::Uuid;

/// The posting. `amount` may be negative: then it is taken out.
pub fn command(adjustment: Uuid, partner: PartnerId, amount: Money, detail: serde_json::Value, at: DateTime<Utc>) -> Command {
    let key = Key::new(adjustment, "x1_adjusted");
    let bank = AccountRef::platform("bank_incoming");
    let wallet = super::wallet(partner);
    let size = Money::from_minor(amount.minor().saturating_abs());
    let (debit, credit) = if amount.is_positive() { (bank, wallet) } else { (wallet, bank) };
    Posting::new(key, debit, credit, size, at).of_partner(partner).detail(detail).post()
}
