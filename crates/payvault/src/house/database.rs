//! The database: the private cluster of the data folder, or the one behind a `DATABASE_URL`; brought to this program's schema.

use std::{path::Path, time::Duration};

use pv_database::{
    Cluster, ClusterOptions, Db, DbConfig,
    cluster::ADMIN,
    migrate::{self, MigrationState, MigrationStatus},
};
use sqlx::Connection as _;

use crate::{
    config::DatabaseSettings,
    failure::{Failure, Result},
};

/// The name of the database in a private cluster.
const NAME: &str = "payvault";

/// Where the database is.
pub enum Place {
    /// In a cluster of our own.
    Private(Cluster),
    /// Behind an address.
    Shared(String),
}

impl Place {
    /// Finds it; starts the private cluster, and makes it the first time.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self> {
        if let Some(url) = &settings.url {
            return Ok(Self::Shared(url.clone()));
        }
        let dir = settings.data_dir.join("database");
        make_data_dir(&settings.data_dir)?;
        let most = settings.web_connections.saturating_add(settings.worker_connections).saturating_mul(4).saturating_add(20);
        let defaults = ClusterOptions::default();
        let options = ClusterOptions { max_connections: most.max(defaults.max_connections), ..defaults };
        let cluster = tokio::task::spawn_blocking(move || Cluster::find_or_start_with(&dir, options)).await??;
        cluster.ensure_database(NAME).await?;
        Ok(Self::Private(cluster))
    }

    /// The address for migrations and for looking at them.
    pub fn owner_url(&self) -> String {
        match self {
            Self::Private(cluster) => cluster.url(NAME, ADMIN),
            Self::Shared(url) => url.clone(),
        }
    }

    /// How the product connects.
    pub fn config(&self, settings: &DatabaseSettings) -> DbConfig {
        let mut config = match self {
            Self::Private(cluster) => DbConfig::for_cluster(cluster, NAME),
            Self::Shared(url) => DbConfig::for_url(url.clone()),
        };
        config.web_connections = settings.web_connections;
        config.worker_connections = settings.worker_connections;
        config
    }

    /// Every migration of this program, and what the database knows of it.
    pub async fn status(&self) -> Result<Vec<MigrationStatus>> {
        Ok(migrate::status(&self.owner_url(), &migrate::embedded()).await?)
    }

    /// Brings the schema up: always in a private cluster, elsewhere only when asked to. Refuses a schema that this program does not know.
    pub async fn bring_up(&self, asked: bool) -> Result<()> {
        let status = self.status().await?;
        if let Some(foreign) = status.iter().find(|s| !matches!(s.state, MigrationState::Pending | MigrationState::Applied(_))) {
            return Err(Failure::new(format!(
                "the database was migrated by another release (migration {} {}): use the release that made it, or a newer one",
                foreign.version, foreign.description
            )));
        }
        let pending = status.iter().filter(|s| s.state == MigrationState::Pending).count();
        if pending == 0 {
            return Ok(());
        }
        if !asked && matches!(self, Self::Shared(_)) {
            return Err(Failure::new(format!("the database lacks {pending} migrations: run payvault migrate up, or start with --migrate")));
        }
        migrate::up(&self.owner_url(), &migrate::embedded()).await?;
        tracing::info!(migrations = pending, "the schema was brought up");
        Ok(())
    }

    /// Connects.
    pub async fn connect(&self, settings: &DatabaseSettings) -> Result<Db> {
        Ok(Db::connect(&self.config(settings)).await?)
    }

    /// Stops a private cluster that nobody uses any more. Another process that comes later starts it again.
    pub async fn leave(self) {
        let Self::Private(cluster) = self else { return };
        // Sessions of ours that were just closed take a moment to go.
        for _ in 0..5 {
            match others(&cluster).await {
                Ok(0) => {
                    let stopped = tokio::task::spawn_blocking(move || cluster.stop()).await;
                    if !matches!(stopped, Ok(Ok(()))) {
                        tracing::debug!("the private database was not stopped; the next start uses it again");
                    }
                    return;
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(150)).await,
                Err(error) => {
                    tracing::debug!(%error, "the private database was not asked who uses it");
                    return;
                }
            }
        }
        tracing::debug!("the private database is used by others and stays");
    }
}

/// How many sessions besides this one.
async fn others(cluster: &Cluster) -> std::result::Result<i64, sqlx::Error> {
    let mut conn = sqlx::PgConnection::connect(&cluster.url("postgres", ADMIN)).await?;
    let others = sqlx::query_scalar("select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
        .fetch_one(&mut conn)
        .await?;
    conn.close().await?;
    Ok(others)
}

/// The data folder. PostgreSQL may run as another user than we (never as root), so it must be able to pass.
fn make_data_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::from(error).while_(format_args!("making the data folder {}", dir.display())))
}
