//! Brings a database to the schema of this program, and back.
//!
//! The migrations are embedded from the folder `migrations/` of the repository (`NNNN_name.up.sql` and `.down.sql`) and run as the role
//! `pv_owner`, each in its own transaction, except those whose first line is `-- no-transaction`. Any number of processes may call [`up`] at once: one works, the others wait.

mod roles;

use std::time::Duration;

use chrono::{DateTime, Utc};
pub use roles::OWNER_ROLE;
pub use sqlx::migrate::{Migration, Migrator};
use sqlx::{Connection, Executor, PgConnection, migrate::MigrateError};

/// The key of our advisory lock: "pv_migra" in ASCII.
const LOCK_KEY: i64 = 0x7076_5f6d_6967_7261;
/// How often a waiting process asks for the lock. It asks and does not wait inside a statement: a waiting statement holds a snapshot, and
/// `create index concurrently` of the working process would wait for that for ever.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Our user may not make the roles. The text says what an administrator must run.
    #[error("the database user {user} may not set up the roles: let an administrator run once: {sql}")]
    MissingRights {
        /// Our user.
        user: String,
        /// One line of SQL.
        sql: String,
    },
    /// A role that must be bound by row-level security is not.
    #[error("these roles are superusers or bypass row-level security, and must not: {roles} (alter role ... nosuperuser nobypassrls)")]
    RoleTooStrong {
        /// Their names.
        roles: String,
    },
    /// A migration failed, or the database was migrated by another program: a newer release, or edited files.
    #[error("the schema was not changed beyond the last migration that succeeded: {0}")]
    Schema(MigrateError),
    /// The database could not be reached, or refused a statement of ours.
    #[error("preparing the database for migrations")]
    Sql(#[from] sqlx::Error),
}

impl From<MigrateError> for MigrationError {
    fn from(error: MigrateError) -> Self {
        Self::Schema(error)
    }
}

/// One migration, and what this database knows of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MigrationStatus {
    /// The number at the start of the file's name.
    pub version: i64,
    /// The rest of the file's name.
    pub description: String,
    /// Whether it has run here.
    pub state: MigrationState,
}

/// Whether a migration has run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Not yet.
    Pending,
    /// Yes, at this time of the database.
    Applied(DateTime<Utc>),
    /// Yes, but the file has been edited since.
    Changed(DateTime<Utc>),
    /// Yes, but this program does not know it: the database is of a newer release.
    Unknown(DateTime<Utc>),
}

/// The migrations of this program.
pub fn embedded() -> Migrator {
    sqlx::migrate!("../../migrations")
}

/// Makes the roles and runs every migration that has not run.
pub async fn up(owner_url: &str, migrator: &Migrator) -> Result<(), MigrationError> {
    let mut conn = PgConnection::connect(owner_url).await?;
    lock(&mut conn).await?;
    roles::become_owner(&mut conn).await?;
    migrator.run_direct(None, &mut conn, false).await?;
    // So that any role can answer "is the schema the one I was built for?".
    conn.execute(sqlx::raw_sql("grant select on _sqlx_migrations to pv_web, pv_worker")).await?;
    conn.close().await?;
    Ok(())
}

/// Takes back, newest first, every migration with a number greater than `to`; `to` 0 takes back all. Rows in tables that a migration
/// made are lost with it.
pub async fn down(owner_url: &str, migrator: &Migrator, to: i64) -> Result<(), MigrationError> {
    let mut conn = PgConnection::connect(owner_url).await?;
    lock(&mut conn).await?;
    roles::become_owner(&mut conn).await?;
    migrator.undo(&mut conn, to).await?;
    conn.close().await?;
    Ok(())
}

/// Compares a database with these migrations; by number. Changes nothing, and any role may ask.
pub async fn status(url: &str, migrator: &Migrator) -> Result<Vec<MigrationStatus>, MigrationError> {
    let mut conn = PgConnection::connect(url).await?;
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut conn).await?;
    if known {
        // Needed where our user is a member of the owner that does not inherit; refused where it needs none.
        let _ = conn.execute(sqlx::raw_sql("set role pv_owner")).await;
    }
    let applied: Vec<(i64, String, DateTime<Utc>, Vec<u8>)> = if known {
        sqlx::query_as("select version, description, installed_on, checksum from _sqlx_migrations order by version").fetch_all(&mut conn).await?
    } else {
        Vec::new()
    };
    conn.close().await?;
    Ok(compare(migrator, applied))
}

fn compare(migrator: &Migrator, applied: Vec<(i64, String, DateTime<Utc>, Vec<u8>)>) -> Vec<MigrationStatus> {
    let ours = || migrator.iter().filter(|migration| !migration.migration_type.is_down_migration());
    let mut all: Vec<MigrationStatus> = ours()
        .map(|migration| {
            let done = applied.iter().find(|(version, ..)| *version == migration.version);
            let state = match done {
                None => MigrationState::Pending,
                Some((_, _, at, checksum)) if checksum.as_slice() == &*migration.checksum => MigrationState::Applied(*at),
                Some((_, _, at, _)) => MigrationState::Changed(*at),
            };
            MigrationStatus { version: migration.version, description: migration.description.to_string(), state }
        })
        .collect();
    let foreign = applied.into_iter().filter(|(version, ..)| !ours().any(|migration| migration.version == *version));
    all.extend(foreign.map(|(version, description, at, _)| MigrationStatus { version, description, state: MigrationState::Unknown(at) }));
    all.sort_by_key(|status| status.version);
    all
}

/// One process at a time. The lock ends with the session.
async fn lock(conn: &mut PgConnection) -> Result<(), MigrationError> {
    loop {
        let ours: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK_KEY).fetch_one(&mut *conn).await?;
        if ours {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}
