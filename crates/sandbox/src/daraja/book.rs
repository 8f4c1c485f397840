//! M-Pesa's own books: accounts, payments, statement lines. The invariants of a simulation are checked against these.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::faults::Plan;
use super::options::{ChargeAccount, Initiator, Shortcode, ShortcodeKind};

/// An account of a shortcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Payouts leave from here.
    Utility,
    /// Working, also called MMF.
    Working,
    /// Charges paid; normally negative.
    ChargesPaid,
}

/// One leg of a movement, as an export of the portal would show it (statement contract 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementLine {
    /// Which account it stands in.
    pub account: Account,
    /// The M-Pesa receipt; legs of one transaction share it.
    pub receipt: String,
    /// When it was asked for.
    pub initiated_at: DateTime<Utc>,
    /// When the money moved.
    pub completed_at: DateTime<Utc>,
    /// The sentence.
    pub details: String,
    /// The reason type.
    pub reason: String,
    /// The other party, `<number> - <name>`; empty on charge rows.
    pub party: String,
    /// The receipt of the movement that this one undoes.
    pub linked: Option<String>,
    /// KES cents; negative: withdrawn.
    pub delta_cents: i64,
    /// KES cents after it.
    pub balance_cents: i64,
    /// The id of the request that caused it, where there was one.
    pub originator_conversation_id: Option<String>,
}

/// What became of a payment, by M-Pesa's own books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Accepted; nothing has moved yet.
    Queued,
    /// The phone has the money.
    Paid,
    /// Final; nothing moved, nothing will.
    NotPaid,
    /// Paid, then sent back at the portal.
    SentBack,
}

/// One accepted B2C payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The client's id (v3), or the gateway's (v1).
    pub originator_conversation_id: String,
    /// M-Pesa's id.
    pub conversation_id: String,
    /// The paying shortcode.
    pub shortcode: String,
    /// The recipient.
    pub msisdn: String,
    /// KES cents.
    pub cents: i64,
    /// `CommandID`.
    pub command: String,
    /// What became of it.
    pub state: PaymentState,
    /// The `ResultCode` told (or meant to be told); an ambiguous code may stand beside `Paid`.
    pub result_code: Option<String>,
    /// Set once the money moved.
    pub receipt: Option<String>,
    /// Tariff charged, KES cents.
    pub charge_cents: i64,
    /// When the request was accepted.
    pub accepted_at: DateTime<Utc>,
    /// When it became final.
    pub settled_at: Option<DateTime<Utc>>,
    /// The receipt of the reversal, if it was sent back.
    pub sent_back: Option<String>,
}

/// A payment with what only the simulator needs to know.
#[derive(Debug)]
pub(crate) struct Record {
    pub payment: Payment,
    pub plan: Plan,
    pub initiator: String,
    pub credential: String,
    pub result_url: String,
    pub timeout_url: String,
    pub request: Bytes,
    /// The word a status query gives while, or after, it is not completed.
    pub status_word: &'static str,
}

/// Balances in KES cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Balances {
    /// Available for payouts.
    pub utility_cents: i64,
    /// Working account.
    pub working_cents: i64,
    /// Charges paid account.
    pub charges_cents: i64,
}

#[derive(Debug)]
pub(crate) struct Operator {
    pub initiator: Initiator,
    pub mismatches: u32,
}

/// A shortcode and its accounts.
#[derive(Debug)]
pub(crate) struct Till {
    pub name: String,
    pub kind: ShortcodeKind,
    pub charge_account: ChargeAccount,
    pub working_reserved_cents: i64,
    pub balances: Balances,
    pub operators: Vec<Operator>,
    pub lines: Vec<StatementLine>,
    /// Requests in the second that began at this moment, for the spike arrest.
    pub second: (i64, u32),
}

/// What a new leg says; its balance is worked out by the book.
#[derive(Debug, Clone)]
pub(crate) struct Leg<'a> {
    pub account: Account,
    pub receipt: &'a str,
    pub initiated_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub details: String,
    pub reason: &'a str,
    pub party: String,
    pub linked: Option<String>,
    pub delta_cents: i64,
    pub originator: Option<&'a str>,
}

impl Till {
    pub(crate) fn new(shortcode: Shortcode) -> Self {
        Self {
            name: shortcode.name,
            kind: shortcode.kind,
            charge_account: shortcode.charge_account,
            working_reserved_cents: shortcode.working_reserved_cents,
            balances: Balances {
                utility_cents: shortcode.utility_cents,
                working_cents: shortcode.working_cents,
                charges_cents: shortcode.charges_cents,
            },
            operators: shortcode.initiators.into_iter().map(|initiator| Operator { initiator, mismatches: 0 }).collect(),
            lines: Vec::new(),
            second: (0, 0),
        }
    }

    /// The only place where a balance of a shortcode changes.
    pub(crate) fn post(&mut self, leg: Leg<'_>) {
        let balance = match leg.account {
            Account::Utility => &mut self.balances.utility_cents,
            Account::Working => &mut self.balances.working_cents,
            Account::ChargesPaid => &mut self.balances.charges_cents,
        };
        *balance = balance.saturating_add(leg.delta_cents);
        let balance_cents = *balance;
        self.lines.push(StatementLine {
            account: leg.account,
            receipt: leg.receipt.to_owned(),
            initiated_at: leg.initiated_at,
            completed_at: leg.at,
            details: leg.details,
            reason: leg.reason.to_owned(),
            party: leg.party,
            linked: leg.linked,
            delta_cents: leg.delta_cents,
            balance_cents,
            originator_conversation_id: leg.originator.map(str::to_owned),
        });
    }
}

/// All books.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub tills: BTreeMap<String, Till>,
    pub records: Vec<Record>,
    pub by_originator: BTreeMap<String, usize>,
    pub by_receipt: BTreeMap<String, usize>,
}

impl Book {
    pub(crate) fn add(&mut self, record: Record) -> usize {
        let index = self.records.len();
        self.by_originator.insert(record.payment.originator_conversation_id.clone(), index);
        self.records.push(record);
        index
    }

    pub(crate) fn find(&self, originator: &str) -> Option<&Record> {
        self.records.get(*self.by_originator.get(originator)?)
    }
}
