//! One transaction: begun in a task that nobody can cancel, committed so that "Ok" means written.
//!
//! It does not use the transaction type of sqlx, for two reasons.
//!
//! 1. A cancelled `begin` of sqlx 0.9.0 can leave the session inside a transaction (sqlx #4385, #4393). Here `BEGIN` runs inside a
//!    spawned task to its end, whoever has stopped waiting for it; and the scope's settings go in the same message, so it is one round trip.
//! 2. `COMMIT` of a transaction in which a statement has failed is answered by PostgreSQL with `ROLLBACK`, and sqlx drops that
//!    word and returns Ok. Here the commit is the one message `select; commit`: in a failed transaction the empty
//!    `select` is refused (SQLSTATE 25P02) and the error comes back; in a sound one it costs no round trip.

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, pool::PoolConnection};
use uuid::Uuid;

use super::{CommitHook, DbError};

/// How long a dropped transaction may take to roll back before its session is closed instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// On whose behalf a transaction runs. It decides the role, and with it what row-level security lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The machinery: role `pv_worker`, all partners, under the worker's own policy.
    Worker,
    /// A person or key of this partner: role `pv_web`, `pv.partner_id` = the partner, `pv.platform` = `off`.
    Web(Uuid),
    /// The platform's own staff: role `pv_web`, `pv.partner_id` = empty, `pv.platform` = `on`.
    WebPlatform,
}

impl Scope {
    /// The one message that begins. The only value in it is a UUID, so there is nothing to inject.
    fn begin_sql(self) -> String {
        let settings = |partner: &str, platform: &str| {
            format!("begin; select set_config('pv.partner_id', '{partner}', true), set_config('pv.platform', '{platform}', true)")
        };
        match self {
            Self::Worker => "begin".to_owned(),
            Self::Web(partner) => settings(&partner.hyphenated().to_string(), "off"),
            Self::WebPlatform => settings("", "on"),
        }
    }
}

/// A running transaction. Dropping it rolls it back.
pub struct Tx {
    /// `None` only inside the functions that consume the transaction.
    session: Option<PoolConnection<Postgres>>,
    scope: Scope,
    hook: Arc<dyn CommitHook>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Tx {
    pub(super) async fn begin(pool: PgPool, scope: Scope, hook: Arc<dyn CommitHook>) -> Result<Self, DbError> {
        let task = tokio::spawn(async move {
            let session = pool.acquire().await?;
            // From here on every way out of this task, also the end of the runtime, rolls back or closes the session.
            let mut tx = Self { session: Some(session), scope, hook };
            tx.conn().execute(sqlx::raw_sql(AssertSqlSafe(scope.begin_sql()))).await?;
            Ok(tx)
        });
        match task.await {
            Ok(begun) => begun,
            // The runtime is shutting down.
            Err(_) => Err(DbError::Unavailable(sqlx::Error::WorkerCrashed)),
        }
    }

    /// The session, for statements: `query(..).execute(tx.conn())`. Do not send `begin`, `commit` or `rollback` through it; savepoints are fine.
    ///
    /// # Panics
    /// Never: the session is taken only by what consumes the transaction.
    #[expect(clippy::expect_used, reason = "only commit, rollback and drop take the session, and they consume the transaction")]
    pub fn conn(&mut self) -> &mut PgConnection {
        self.session.as_mut().expect("a transaction has its session until it is consumed")
    }

    /// On whose behalf it runs.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Commits under the label `commit`. See [`Tx::commit_at`].
    pub async fn commit(self) -> Result<(), DbError> {
        self.commit_at("commit").await
    }

    /// Commits. `Ok` means that the server has confirmed it. The label names the fault point for the simulation.
    ///
    /// # Errors
    /// [`DbError::AbortedTransaction`] when a statement had failed before; [`DbError::CommitUnknown`] when the connection was lost on
    /// the way; [`DbError::Crashed`] by the simulation; or what a deferred constraint says. Except for the second and, after the commit, the third, nothing was written.
    pub async fn commit_at(mut self, label: &'static str) -> Result<(), DbError> {
        if self.hook.before_commit(label).is_err() {
            // Awaited, so that the simulation sees the rows unlocked when this returns. The crash is the answer whatever comes of it.
            let _ = self.rollback().await;
            return Err(DbError::Crashed);
        }
        // A caller that goes away while this runs does not learn the outcome; the drop then waits for the answer and clears the session.
        if let Err(error) = self.conn().execute(sqlx::raw_sql("select; commit")).await {
            let error = DbError::from_commit(error);
            if matches!(error, DbError::CommitUnknown(_)) {
                self.close();
            }
            return Err(error);
        }
        self.session.take();
        if self.hook.after_commit(label).is_err() {
            return Err(DbError::Crashed);
        }
        Ok(())
    }

    /// Rolls back and waits for it. Dropping does the same without waiting.
    pub async fn rollback(mut self) -> Result<(), DbError> {
        match self.conn().execute(sqlx::raw_sql("rollback")).await {
            Ok(_) => {
                self.session.take();
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(error.into())
            }
        }
    }

    /// Gives the session up for good; the server rolls back what was open.
    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            drop(session.detach());
        }
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(session.detach());
            return;
        };
        runtime.spawn(async move {
            // First drains the answers to whatever was under way, then rolls back.
            let rolled_back = tokio::time::timeout(ROLLBACK_LIMIT, session.execute(sqlx::raw_sql("rollback"))).await;
            if !matches!(rolled_back, Ok(Ok(_))) {
                drop(session.detach());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_begins_with_its_own_settings() {
        assert_eq!(Scope::Worker.begin_sql(), "begin");
        let partner = Uuid::from_u128(7);
        let web = Scope::Web(partner).begin_sql();
        assert!(web.starts_with("begin; ") && web.contains(&partner.to_string()) && web.contains("'off'"), "{web}");
        let platform = Scope::WebPlatform.begin_sql();
        assert!(platform.contains("'pv.partner_id', ''") && platform.contains("'pv.platform', 'on'"), "{platform}");
    }
}
