//! The book of commands, and what a command is before it runs. How it runs stands in `commands`.

use chrono::{DateTime, Utc};

use super::body::Body;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Carried out.
    Done,
    /// Refused with this inner code.
    Refused(String),
    /// Waits for a checker.
    Parked,
    /// A checker said no.
    TurnedDown,
}

/// A write as the book of commands keeps it.
#[derive(Debug, Clone)]
pub struct Command {
    /// Id.
    pub id: u64,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// User name.
    pub user: String,
    /// Entity, e.g. `LOAN`.
    pub entity: &'static str,
    /// Action, e.g. `DISBURSE`.
    pub action: &'static str,
    /// The loan or account it names.
    pub target: Option<u64>,
    /// Idempotency key as sent.
    pub key: Option<String>,
    /// How it ended.
    pub outcome: CommandOutcome,
    /// Whether it came over the wire; else staff did it.
    pub over_the_wire: bool,
}

/// What a parked command needs to run later.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) entity: &'static str,
    pub(crate) action: &'static str,
    pub(crate) work: Work,
    pub(crate) body: Body,
}

/// The write itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Approve(u64),
    UndoApproval(u64),
    Reject(u64),
    Withdraw(u64),
    Disburse(u64),
    DisburseToSavings(u64),
    UndoDisbursal(u64),
    Repay(u64),
    Recover(u64),
    RefundSurplus(u64),
    AdjustRepayment(u64, u64),
    Deposit(u64),
    TakeOut(u64),
    UndoSavings(u64, u64),
    CreatePaymentType,
    CreateHook,
    UpdateHook(u64),
    DeleteHook(u64),
}

impl Work {
    /// The loan that the command changes.
    pub(crate) fn loan(self) -> Option<u64> {
        match self {
            Self::Approve(id)
            | Self::UndoApproval(id)
            | Self::Reject(id)
            | Self::Withdraw(id)
            | Self::Disburse(id)
            | Self::DisburseToSavings(id)
            | Self::UndoDisbursal(id)
            | Self::Repay(id)
            | Self::Recover(id)
            | Self::RefundSurplus(id)
            | Self::AdjustRepayment(id, _) => Some(id),
            _ => None,
        }
    }

    /// The loan, account or hook that the command names.
    pub(crate) fn target(self) -> Option<u64> {
        match self {
            Self::Deposit(id) | Self::TakeOut(id) | Self::UndoSavings(id, _) | Self::UpdateHook(id) | Self::DeleteHook(id) => Some(id),
            other => other.loan(),
        }
    }
}
