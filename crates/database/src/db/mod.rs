//! The pools of the two roles, and the one way to begin a transaction.
//!
//! sqlx 0.9.0 can lose writes that it has acknowledged (sqlx #4385, #4393: a cancelled `begin` leaves its session inside a transaction, the
//! next caller's autocommit write lands in it and is never committed). Two guards, each enough by itself, stand here:
//! `BEGIN` runs in a task that nobody can cancel ([`Tx`]), and the pool refuses to hand out a session that is inside a transaction (`fit_for_use`).
//! The raw ways to begin are banned by `clippy.toml`.

mod error;
mod hook;
mod tx;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{
    AssertSqlSafe, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

pub use error::{ConstraintKind, DbError};
pub use hook::{CommitHook, Crash, NoFaults};
pub use tx::{Scope, Tx};

use crate::cluster::Cluster;

/// The role of HTTP handlers: forced row-level security, no insert on ledger tables.
pub const WEB_ROLE: &str = "pv_web";
/// The role of background steps and of commands that move money.
pub const WORKER_ROLE: &str = "pv_worker";

/// Which server, and how the two roles are reached there.
#[derive(Clone)]
pub enum Target {
    /// A private cluster: one address per role, the role logs in itself.
    Private {
        /// The address for `pv_web`.
        web_url: String,
        /// The address for `pv_worker`.
        worker_url: String,
    },
    /// One address (`DATABASE_URL`) whose user is a member of both roles: each new session says `set role`. Such a session could
    /// also say `reset role`, so here the roles guard against mistakes, not against injected SQL.
    Shared {
        /// The address.
        url: String,
    },
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An address can carry a password.
        f.write_str(match self {
            Self::Private { .. } => "Private",
            Self::Shared { .. } => "Shared",
        })
    }
}

/// How to connect.
#[derive(Clone)]
pub struct DbConfig {
    /// Where.
    pub target: Target,
    /// The most sessions of the web pool.
    pub web_connections: u32,
    /// The most sessions of the worker pool.
    pub worker_connections: u32,
    /// What `pg_stat_activity` shows; the role is appended.
    pub application_name: String,
    /// How long a caller waits for a session.
    pub acquire_timeout: Duration,
    /// The longest statement.
    pub statement_timeout: Duration,
    /// The longest wait for a lock.
    pub lock_timeout: Duration,
    /// How long a transaction may stand idle before the server ends its session.
    pub idle_in_transaction_timeout: Duration,
    /// The fault points; [`NoFaults`] outside the simulation.
    pub hook: Arc<dyn CommitHook>,
}

impl std::fmt::Debug for DbConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DbConfig")
            .field("target", &self.target)
            .field("web_connections", &self.web_connections)
            .field("worker_connections", &self.worker_connections)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}

impl DbConfig {
    /// The defaults for a target: 10 + 10 sessions, 10 s for a session, 30 s per statement, 10 s per lock, 30 s idle.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            web_connections: 10,
            worker_connections: 10,
            application_name: "payvault".to_owned(),
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            idle_in_transaction_timeout: Duration::from_secs(30),
            hook: Arc::new(NoFaults),
        }
    }

    /// For a database of a private cluster.
    pub fn for_cluster(cluster: &Cluster, database: &str) -> Self {
        Self::new(Target::Private { web_url: cluster.url(database, WEB_ROLE), worker_url: cluster.url(database, WORKER_ROLE) })
    }

    /// For the server behind a `DATABASE_URL`.
    pub fn for_url(url: impl Into<String>) -> Self {
        Self::new(Target::Shared { url: url.into() })
    }

    /// With these fault points.
    #[must_use]
    pub fn with_hook(mut self, hook: Arc<dyn CommitHook>) -> Self {
        self.hook = hook;
        self
    }

    fn pool(&self, role: &'static str, most: u32) -> Result<PgPool, DbError> {
        let (url, set_role) = match &self.target {
            Target::Private { web_url, worker_url } => (if role == WEB_ROLE { web_url } else { worker_url }, false),
            Target::Shared { url } => (url, true),
        };
        let name = format!("{} {}", self.application_name, role.trim_start_matches("pv_"));
        let options: PgConnectOptions = url.parse::<PgConnectOptions>()?.application_name(&name);
        let first = Arc::new(self.first_words(set_role.then_some(role)));
        Ok(PgPoolOptions::new()
            .max_connections(most.max(1))
            .acquire_timeout(self.acquire_timeout)
            // fit_for_use asks a better question.
            .test_before_acquire(false)
            .before_acquire(|session, _| Box::pin(async move { Ok(fit_for_use(session).await) }))
            .after_connect(move |session, _| {
                let first = Arc::clone(&first);
                Box::pin(async move {
                    session.execute(sqlx::raw_sql(AssertSqlSafe(first.to_string()))).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options))
    }

    /// What each new session says first. As statements and not as start-up options, which poolers refuse.
    fn first_words(&self, role: Option<&str>) -> String {
        let mut text = format!(
            "set timezone = 'UTC'; set statement_timeout = {}; set lock_timeout = {}; set idle_in_transaction_session_timeout = {}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.idle_in_transaction_timeout.as_millis(),
        );
        if let Some(role) = role {
            text.push_str("; set role ");
            text.push_str(role);
        }
        text
    }
}

/// May the pool hand this session out? False when it is inside a transaction (then the two times differ, because the
/// transaction began with an earlier message), inside a failed one, or gone. Asked by the simple protocol: one message, nothing prepared.
async fn fit_for_use(session: &mut PgConnection) -> bool {
    let answer = session.fetch_one(sqlx::raw_sql("select transaction_timestamp() = statement_timestamp()")).await;
    let fit = answer.and_then(|row| row.try_get::<bool, _>(0));
    if !matches!(fit, Ok(true)) {
        tracing::warn!("a pooled session was not fit for use (inside a transaction, or lost) and was closed");
    }
    matches!(fit, Ok(true))
}

/// The database, as the product sees it: one pool per role. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    web: PgPool,
    worker: PgPool,
    hook: Arc<dyn CommitHook>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("web", &self.web.size()).field("worker", &self.worker.size()).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens both pools and one session of each, so that a wrong address or a missing role is known at once.
    pub async fn connect(config: &DbConfig) -> Result<Self, DbError> {
        let db = Self::connect_lazy(config)?;
        for pool in [&db.web, &db.worker] {
            pool.execute(sqlx::raw_sql("select 1")).await?;
        }
        Ok(db)
    }

    /// Opens both pools; sessions are made when they are needed. Must run inside a runtime.
    pub fn connect_lazy(config: &DbConfig) -> Result<Self, DbError> {
        Ok(Self {
            web: config.pool(WEB_ROLE, config.web_connections)?,
            worker: config.pool(WORKER_ROLE, config.worker_connections)?,
            hook: Arc::clone(&config.hook),
        })
    }

    /// Begins a transaction; the only way to begin one. Safe to cancel.
    pub async fn begin(&self, scope: Scope) -> Result<Tx, DbError> {
        let pool = match scope {
            Scope::Worker => &self.worker,
            Scope::Web(_) | Scope::WebPlatform => &self.web,
        };
        Tx::begin(pool.clone(), scope, Arc::clone(&self.hook)).await
    }

    /// The web pool, for single statements outside any scope. No partner is set there, so row-level security shows no partner's row.
    pub fn web(&self) -> &PgPool {
        &self.web
    }

    /// The worker pool, for single statements.
    pub fn worker(&self) -> &PgPool {
        &self.worker
    }

    /// The same database with other fault points; the pools are shared. So one simulated process can crash without the others.
    #[must_use]
    pub fn with_hook(&self, hook: Arc<dyn CommitHook>) -> Self {
        Self { web: self.web.clone(), worker: self.worker.clone(), hook }
    }

    /// The database's clock, to be compared with ours. Decides nothing.
    pub async fn now(&self) -> Result<DateTime<Utc>, DbError> {
        Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.worker).await?)
    }

    /// A session of its own, beside the pools, for `LISTEN`. It reconnects by itself; what was sent meanwhile is missed,
    /// so polling stays the truth.
    pub async fn listener(&self) -> Result<PgListener, DbError> {
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(self.worker.options().get_acquire_timeout())
            .connect_lazy_with((*self.worker.connect_options()).clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.ignore_pool_close_event(true);
        Ok(listener)
    }

    /// Closes both pools: waits for borrowed sessions to come back, refuses new ones.
    pub async fn close(&self) {
        tokio::join!(self.web.close(), self.worker.close());
    }
}
