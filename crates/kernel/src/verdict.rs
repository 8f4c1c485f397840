//! What is known about a payment at a rail. Four verdicts, and the only one that allows a new attempt needs a proof.

use serde::{Deserialize, Serialize};

use crate::ids::{PayoutId, ProofId};

/// What is known about money at a rail. "Unknown" is never called "failed".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Money moved; this is the rail's receipt.
    Paid(String),
    /// Money provably did not move, for this reason.
    NotPaid(String),
    /// The rail took the request and has not said how it ended.
    InFlight,
    /// It may have moved, it may not.
    Unknown,
}

/// How good a piece of evidence is (rule A13). Higher overrides lower; equal and contradictory is an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// A person vouches (a portal line, seen by two).
    Attested,
    /// An admissible statement of the paying account (rule A9).
    Statement,
    /// The rail's own result or status answer, or a request that provably never entered it.
    Rail,
}

impl Grade {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Statement => "statement",
            Self::Rail => "rail",
        }
    }
}

/// A stored proof that one payout moved no money (rule A7).
///
/// There is no public way to make one from nothing: it is read back from its row. A new attempt takes it by value, so
/// that an attempt without proof cannot be written, and the database says the same once more with a foreign key.
#[derive(Debug, PartialEq, Eq)]
pub struct ProvenNotPaid {
    proof: ProofId,
    payout: PayoutId,
    grade: Grade,
}

impl ProvenNotPaid {
    /// For the store alone: builds the value from the row of `payout_proofs` that was just read.
    pub const fn from_row(proof: ProofId, payout: PayoutId, grade: Grade) -> Self {
        Self { proof, payout, grade }
    }

    /// The row of the proof.
    pub const fn proof(&self) -> ProofId {
        self.proof
    }

    /// The payout that moved no money.
    pub const fn payout(&self) -> PayoutId {
        self.payout
    }

    /// How good the evidence is.
    pub const fn grade(&self) -> Grade {
        self.grade
    }
}

/// The five words for money, on screens, in the API and in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was sent.
    ToDo,
    /// An instruction is at the rail or just leaving.
    OnItsWay,
    /// The rail confirmed that the money moved.
    Paid,
    /// It is proven that no money moved, and nothing is being tried.
    NotPaid,
    /// It may have moved; we are finding out.
    NotYetKnown,
}

impl Status {
    /// The value in the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToDo => "to_do",
            Self::OnItsWay => "on_its_way",
            Self::Paid => "paid",
            Self::NotPaid => "not_paid",
            Self::NotYetKnown => "not_yet_known",
        }
    }

    /// In words for people, English.
    pub const fn words(self) -> &'static str {
        match self {
            Self::ToDo => "to do",
            Self::OnItsWay => "on its way",
            Self::Paid => "paid",
            Self::NotPaid => "not paid",
            Self::NotYetKnown => "not yet known",
        }
    }
}
