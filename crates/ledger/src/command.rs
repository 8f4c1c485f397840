//! What can be asked of the ledger, and what it answers.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{AccountId, PartnerId, TransferId},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{AccountRef, LedgerError};

/// The identity of a transfer: what it is about, what it does there, and for the how-manieth time. Unique, for ever: a second
/// command with the same key is [`Answer::AlreadyPosted`] and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The disbursement, payout, top-up, collection … that is moved for.
    pub subject: Uuid,
    /// The movement's name, 1 to 80 characters.
    pub movement: Cow<'static, str>,
    /// From 1; higher where the same movement of the same subject may happen again by right.
    pub generation: i32,
}

impl Key {
    /// The first generation of a movement.
    pub fn new(subject: Uuid, movement: impl Into<Cow<'static, str>>) -> Self {
        Self { subject, movement: movement.into(), generation: 1 }
    }

    /// The same movement in another generation.
    #[must_use]
    pub fn generation(mut self, generation: i32) -> Self {
        self.generation = generation;
        self
    }
}

/// A transfer to be posted or held. Build it with [`Posting::new`], add what is known, end with [`Posting::post`],
/// [`Posting::hold`] or [`Posting::fact`].
#[derive(Debug, Clone, PartialEq)]
pub struct Posting {
    /// Its identity.
    pub key: Key,
    /// The account that is debited.
    pub debit: AccountRef,
    /// The account that is credited, in the same book.
    pub credit: AccountRef,
    /// How much; positive.
    pub amount: Money,
    /// It already happened outside: posts whatever the bound says (rule B6).
    pub fact: bool,
    /// The stored message or document that proves it.
    pub evidence: Option<Uuid>,
    /// The transfer that this one corrects.
    pub corrects: Option<TransferId>,
    /// Parts of the amount and the like, for people and reports. The ledger never reads it.
    pub detail: Option<Value>,
    /// Whose transfer it is. Follows from the accounts where one of them is a partner's.
    pub partner: Option<PartnerId>,
    /// When it happened in the business.
    pub at: DateTime<Utc>,
}

impl Posting {
    /// Debit, credit, amount, at a moment, under a key.
    pub const fn new(key: Key, debit: AccountRef, credit: AccountRef, amount: Money, at: DateTime<Utc>) -> Self {
        Self { key, debit, credit, amount, fact: false, evidence: None, corrects: None, detail: None, partner: None, at }
    }

    /// With the stored message or document that proves it.
    #[must_use]
    pub fn evidence(mut self, evidence: Uuid) -> Self {
        self.evidence = Some(evidence);
        self
    }

    /// Correcting another transfer, which never changes.
    #[must_use]
    pub fn corrects(mut self, transfer: TransferId) -> Self {
        self.corrects = Some(transfer);
        self
    }

    /// With details for people and reports.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Concerning a partner, where neither account is a partner's.
    #[must_use]
    pub fn of_partner(mut self, partner: PartnerId) -> Self {
        self.partner = Some(partner);
        self
    }

    /// Post it; a bound may refuse it.
    pub fn post(self) -> Command {
        Command::Post(self)
    }

    /// Post it as a fact: it already happened outside, no bound refuses it (rule B6).
    pub fn fact(mut self) -> Command {
        self.fact = true;
        Command::Post(self)
    }

    /// Hold it: counts against the debit account at once, moves nothing until it is posted. A bound may refuse it.
    pub fn hold(self) -> Command {
        Command::Hold(self)
    }
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The key of the hold.
    pub hold: Key,
    /// The identity of this end.
    pub key: Key,
    /// The stored message or document that proves it.
    pub evidence: Option<Uuid>,
    /// For people and reports.
    pub detail: Option<Value>,
    /// When it happened in the business.
    pub at: DateTime<Utc>,
}

impl Ending {
    /// An end of a hold, at a moment, under its own key.
    pub const fn new(hold: Key, key: Key, at: DateTime<Utc>) -> Self {
        Self { hold, key, evidence: None, detail: None, at }
    }

    /// With the stored message or document that proves it.
    #[must_use]
    pub fn evidence(mut self, evidence: Uuid) -> Self {
        self.evidence = Some(evidence);
        self
    }

    /// With details for people and reports.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Post the hold: the money moves.
    pub fn post(self) -> Command {
        Command::PostHold(self)
    }

    /// Void the hold: the money is free again.
    pub fn void(self) -> Command {
        Command::VoidHold(self)
    }
}

/// One thing asked of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A transfer, posted at once.
    Post(Posting),
    /// A pending transfer.
    Hold(Posting),
    /// A pending transfer becomes posted.
    PostHold(Ending),
    /// A pending transfer ends without moving anything.
    VoidHold(Ending),
}

impl Command {
    /// The command's own key.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Post(posting) | Self::Hold(posting) => &posting.key,
            Self::PostHold(ending) | Self::VoidHold(ending) => &ending.key,
        }
    }

    /// The kind of row that it writes.
    pub const fn kind(&self) -> TransferKind {
        match self {
            Self::Post(_) => TransferKind::Posted,
            Self::Hold(_) => TransferKind::Pending,
            Self::PostHold(_) => TransferKind::Post,
            Self::VoidHold(_) => TransferKind::Void,
        }
    }
}

/// The kind of a row of the transfer log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// Posted at once.
    Posted,
    /// A hold.
    Pending,
    /// The posting of a hold.
    Post,
    /// The end of a hold that moved nothing.
    Void,
}

impl TransferKind {
    /// The word in the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Pending => "pending",
            Self::Post => "post",
            Self::Void => "void",
        }
    }

    /// From the word in the database.
    pub fn from_word(word: &str) -> Result<Self, LedgerError> {
        Ok(match word {
            "posted" => Self::Posted,
            "pending" => Self::Pending,
            "post" => Self::Post,
            "void" => Self::Void,
            other => {
                return Err(LedgerError::UnknownWord { what: "transfer kind", value: other.to_owned() });
            }
        })
    }

    /// Whether the row moves money (a hold and its void do not).
    pub const fn moves(self) -> bool {
        matches!(self, Self::Posted | Self::Post)
    }
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Posted.
    Post,
    /// Voided.
    Void,
}

/// What the ledger says to one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Written now: a transfer, a hold, or the end of one.
    Posted(TransferId),
    /// The same command was written before, under this id. Nothing changed.
    AlreadyPosted(TransferId),
    /// The bounded account that would be debited does not have it. Nothing changed.
    Insufficient {
        /// Posted minus held, before this command; may be negative after facts.
        available: Money,
        /// What the command needed.
        needed: Money,
    },
    /// The key belongs to a transfer with other content (kind, accounts, amount, hold or corrected transfer). Nothing changed.
    KeyConflict {
        /// The transfer that has the key.
        existing: TransferId,
    },
    /// No hold stands under that key. Nothing changed.
    NoSuchHold,
    /// The hold ended before, under another key. Nothing changed.
    HoldEnded {
        /// How.
        as_: Ended,
        /// By which transfer.
        by: TransferId,
    },
    /// One of the accounts was never opened. Nothing changed.
    UnknownAccount(AccountId),
    /// The command makes no sense whatever the books say. Nothing changed.
    Invalid(Invalid),
}

impl Answer {
    /// The transfer that stands for the command, written now or before. `None` when the command was refused.
    pub const fn transfer(&self) -> Option<TransferId> {
        match self {
            Self::Posted(id) | Self::AlreadyPosted(id) => Some(*id),
            _ => None,
        }
    }
}

/// Why a command makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Zero or negative.
    #[error("a transfer moves a positive amount")]
    AmountNotPositive,
    /// Beyond the bound of an amount (`pv_kernel::money::MAX_MINOR`), or a balance that would leave its range.
    #[error("the amount is out of range")]
    OutOfRange,
    /// Debit and credit are one account.
    #[error("a transfer needs two accounts")]
    SameAccount,
    /// Debit and credit are in different books.
    #[error("accounts of two books never meet in one transfer")]
    BooksMix,
    /// The accounts and the command name different partners.
    #[error("a transfer concerns one partner at most")]
    PartnersMix,
    /// A hold cannot be a fact.
    #[error("a hold is a wish, it cannot be a fact")]
    FactHold,
    /// The transfer that it says to correct does not exist.
    #[error("the transfer to be corrected does not exist")]
    CorrectsUnknown,
    /// The movement's name is empty or over 80 characters, or the generation is below 1.
    #[error("a key has a movement of 1 to 80 characters and a generation from 1")]
    BadKey,
    /// The currency of an account is not the amount's.
    #[error("the amount's currency is not the account's")]
    CurrencyDiffers,
}
