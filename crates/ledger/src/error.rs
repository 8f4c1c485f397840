//! What can go wrong with a whole batch or a whole read. What is wrong with one command is an [`Answer`](crate::Answer).

use pv_kernel::ids::AccountId;

/// Why the ledger could not do what was asked. In each case nothing may be committed: roll the transaction back.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another transaction wrote the same key, or ended the same hold, at the same moment. Roll back and run the whole step
    /// again: the second run sees what the other one wrote.
    #[error("posting met a concurrent transaction on the same rows: nothing was written, roll back and run the step again")]
    Race,
    /// A batch over the cap. Nothing was written.
    #[error("posting a batch of {given} commands: at most {cap} are taken at once, nothing was written")]
    TooMany {
        /// How many commands were given.
        given: usize,
        /// How many are taken at most.
        cap: usize,
    },
    /// Accounts were opened under a name that exists with other properties.
    #[error("opening the account {name} in the book {book}: it exists with another kind, bound, currency or partner")]
    AccountDiffers {
        /// The book.
        book: String,
        /// The account's name.
        name: String,
    },
    /// An account to open has a name that the ledger does not take.
    #[error("opening the account {name} in the book {book}: a name has 1 to 120 characters")]
    AccountName {
        /// The book.
        book: String,
        /// The account's name.
        name: String,
    },
    /// A stored row contradicts the ledger's own rules. `verify` names it.
    #[error("the ledger contradicts itself at account {account}: {what}; nothing was written, run verify")]
    Broken {
        /// The account at which it was seen.
        account: AccountId,
        /// What was seen.
        what: &'static str,
    },
    /// A stored word is none that this program writes.
    #[error("reading the ledger: unknown {what} {value:?}")]
    UnknownWord {
        /// Which column.
        what: &'static str,
        /// What stood there.
        value: String,
    },
    /// The database refused or was lost. Nothing is known to be written until the caller's commit answers.
    #[error("the ledger's database call failed, the transaction must be rolled back")]
    Database(#[source] sqlx::Error),
}

impl LedgerError {
    /// Whether the same step, run again in a new transaction, can succeed.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Race)
    }
}

impl From<sqlx::Error> for LedgerError {
    /// Serialisation failures, deadlocks and a lost race on a hold are [`LedgerError::Race`].
    fn from(error: sqlx::Error) -> Self {
        let race = error.as_database_error().is_some_and(|db| match db.code().as_deref() {
            Some("40001" | "40P01") => true,
            // Two ended one hold; or a hold whose own row lost the race on its key was ended in the same batch.
            Some("23505") => db.constraint() == Some("ledger_transfers_resolves"),
            Some("23503") => db.constraint() == Some("ledger_transfers_hold"),
            _ => false,
        });
        if race { Self::Race } else { Self::Database(error) }
    }
}
