//! What can go wrong inside the house. A use case that refuses a person's command answers with a [`Problem`]; the rest says
//! whether trying again makes sense.

use pv_database::DbError;
use pv_kernel::problem::Problem;
use pv_ledger::LedgerError;

/// A use case or step did not finish.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The command is refused, with its reason for the person.
    #[error(transparent)]
    Refused(#[from] Box<Problem>),
    /// The database did not do it; the transaction left nothing behind.
    #[error("database: {0}")]
    Db(#[from] DbError),
    /// The ledger did not take the batch; the transaction left nothing behind.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// A stored secret cannot be opened with the keys at hand.
    #[error("a stored secret cannot be opened: {0}")]
    Secret(String),
    /// A row is not as the code that wrote it would have written it.
    #[error("broken row: {0}")]
    Broken(String),
    /// This process is going down (simulation only): write nothing, conclude nothing.
    #[error("the process ends here")]
    Crashed,
}

impl From<Problem> for VaultError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<sqlx::Error> for VaultError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(DbError::from(error))
    }
}

impl VaultError {
    /// As a problem for the person who asked: a refusal keeps its words, everything else says that nothing was carried out.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Refused(problem) => *problem,
            other => {
                tracing::error!(error = %other, "a command could not be carried out");
                Problem::unavailable("The request could not be carried out because of a fault on our side.")
            }
        }
    }

    /// The transaction left nothing behind and may simply run again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Db(error) => error.is_retryable(),
            Self::Ledger(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// The simulated end of the process.
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::Crashed | Self::Db(DbError::Crashed))
    }
}
