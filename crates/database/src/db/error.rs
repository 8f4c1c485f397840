//! What can go wrong at the database, sorted by what the caller can do.

/// A failure at the database. Every variant except [`DbError::CommitUnknown`] and [`DbError::Crashed`] means that the
/// transaction in question left nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No session: the server is away, starting, full, or the pool is exhausted. Nothing was written; try later.
    #[error("the database is not available; nothing was written")]
    Unavailable(#[source] sqlx::Error),
    /// Two transactions met. Nothing was written; run the whole transaction again.
    #[error("two transactions met at the database; nothing was written, run it again")]
    Serialization(#[source] sqlx::Error),
    /// Two transactions waited for each other and this one lost. Nothing was written; run the whole transaction again.
    #[error("two transactions waited for each other; nothing was written, run it again")]
    Deadlock(#[source] sqlx::Error),
    /// A lock or the statement took longer than allowed. Nothing was written; it may be run again.
    #[error("the database took too long for a statement or a lock; nothing was written")]
    Timeout(#[source] sqlx::Error),
    /// A constraint of the schema refused the rows. Nothing was written; the same rows will be refused again.
    #[error("the database refused rows by the {kind} constraint {name}; nothing was written")]
    Constraint {
        /// The constraint's name; the column for not-null; empty when the server does not say.
        name: String,
        /// Which kind.
        kind: ConstraintKind,
        /// The server's words.
        #[source]
        source: sqlx::Error,
    },
    /// The role may not do this, or a row is outside its scope (row-level security). Nothing was written.
    #[error("the database does not permit this in this scope; nothing was written")]
    Denied(#[source] sqlx::Error),
    /// A commit was asked for after a statement had failed inside the transaction. The server can only roll such a
    /// transaction back; nothing was written. An error was swallowed on the way: a defect of the caller.
    #[error("commit of a transaction in which a statement had failed; nothing was written")]
    AbortedTransaction(#[source] sqlx::Error),
    /// The connection was lost while committing: it may be written or not. Look, by the same keys, before doing it again.
    #[error("the connection was lost while committing; whether it was written is not known")]
    CommitUnknown(#[source] sqlx::Error),
    /// The simulation crashed the process at a fault point. Never in production.
    #[error("crashed by the simulation at a commit")]
    Crashed,
    /// Anything else: a wrong statement, an unexpected row. Nothing was written.
    #[error("a statement failed at the database; nothing was written")]
    Other(#[source] sqlx::Error),
}

/// Which kind of constraint refused the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// A unique index or primary key: the row is there already.
    Unique,
    /// A foreign key: what the row points to is missing, or something points to the row.
    ForeignKey,
    /// A check.
    Check,
    /// A missing value.
    NotNull,
    /// An exclusion constraint.
    Exclusion,
    /// Another of SQLSTATE class 23.
    Other,
}

impl std::fmt::Display for ConstraintKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
            Self::Check => "check",
            Self::NotNull => "not-null",
            Self::Exclusion => "exclusion",
            Self::Other => "integrity",
        })
    }
}

impl DbError {
    /// True when running the whole transaction again is safe and may succeed. Never true for [`DbError::CommitUnknown`]
    /// and [`DbError::AbortedTransaction`].
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Serialization(_) | Self::Deadlock(_) | Self::Timeout(_))
    }

    /// The name of the unique constraint that refused the rows, if that is what happened.
    pub fn unique_violation(&self) -> Option<&str> {
        match self {
            Self::Constraint { name, kind: ConstraintKind::Unique, .. } => Some(name),
            _ => None,
        }
    }

    /// Sorts an error that came while committing: what the server answered is certain, a lost answer is not.
    pub(super) fn from_commit(error: sqlx::Error) -> Self {
        match Self::from(error) {
            Self::Unavailable(source) => Self::CommitUnknown(source),
            Self::Other(source) if source.as_database_error().is_none() => Self::CommitUnknown(source),
            sorted => sorted,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            sqlx::Error::Database(answer) => {
                let code = answer.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
                Self::from_state(&code, error)
            }
            _ => Self::Other(error),
        }
    }
}

impl DbError {
    /// Sorts by SQLSTATE (PostgreSQL documentation, appendix A).
    fn from_state(code: &str, error: sqlx::Error) -> Self {
        match code {
            "40001" => Self::Serialization(error),
            "40P01" => Self::Deadlock(error),
            // lock_not_available; query_canceled, which is also what a statement timeout is.
            "55P03" | "57014" => Self::Timeout(error),
            "42501" => Self::Denied(error),
            "25P02" => Self::AbortedTransaction(error),
            // Shutdown, crash, starting up, database dropped, idle timeouts, too many connections, a read-only standby.
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" | "53300" | "25006" => Self::Unavailable(error),
            _ if code.starts_with("08") => Self::Unavailable(error),
            _ if code.starts_with("23") => {
                let kind = match code {
                    "23505" => ConstraintKind::Unique,
                    "23503" => ConstraintKind::ForeignKey,
                    "23514" => ConstraintKind::Check,
                    "23502" => ConstraintKind::NotNull,
                    "23P01" => ConstraintKind::Exclusion,
                    _ => ConstraintKind::Other,
                };
                let name = constraint_name(&error);
                Self::Constraint { name, kind, source: error }
            }
            _ => Self::Other(error),
        }
    }
}

fn constraint_name(error: &sqlx::Error) -> String {
    let Some(answer) = error.as_database_error() else {
        return String::new();
    };
    let column = || answer.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|answer| answer.column());
    answer.constraint().or_else(column).unwrap_or_default().to_owned()
}
