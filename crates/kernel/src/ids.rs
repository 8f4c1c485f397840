//! Typed identifiers. A `PartnerId` can never be handed in where a `DisbursementId` belongs.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The bare UUID, for SQL.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

typed_id! {
    /// An MFI or SACCO on the platform: the tenant.
    PartnerId,
    /// One connection to one core-banking system (`core_id` of rule A1). Immutable, retired, never deleted.
    CoreId,
    /// One decision to pay a borrower.
    DisbursementId,
    /// One instruction to a rail under one rail id: one attempt.
    PayoutId,
    /// One request on the wire for a payout.
    SubmissionId,
    /// One asynchronous question to a rail (transaction status, balance).
    QueryId,
    /// One message from or to the outside, stored before it is understood.
    MessageId,
    /// The stored proof that a payout moved no money.
    ProofId,
    /// One M-Pesa shortcode of a partner.
    ShortcodeId,
    /// One version of the credentials of a shortcode.
    CredentialId,
    /// Something a person must settle.
    ItemId,
    /// A ledger account.
    AccountId,
    /// A ledger transfer.
    TransferId,
    /// A user of the console.
    UserId,
    /// An API key.
    ApiKeyId,
    /// One event of the outbox.
    EventId,
}
