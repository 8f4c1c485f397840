//! The product, started as `payvault serve` starts it, in a data folder that is thrown away: own database, own keys, a free port.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use pv_database::{Cluster, ClusterOptions, cluster::ADMIN};
use pv_kernel::{Ids as _, SystemIds};
use pv_vault::{Engine, audit::Environment, partner::api_key};
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;

use super::api::Api;
use crate::{
    cli::Role,
    config::Settings,
    failure::{Failure, Result},
    house::{self, Permits},
    serve::Service,
};

/// A folder that is thrown away, unless it is kept.
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes one in the machine's temporary folder.
    pub fn make(what: &str, keep: bool) -> Result<Self> {
        let mut mark = [0u8; 5];
        SystemIds.fill(&mut mark);
        let path = std::env::temp_dir().join(format!("payvault-{what}-{}", hex::encode(mark)));
        std::fs::create_dir_all(&path).map_err(|error| Failure::from(error).while_(format_args!("making {}", path.display())))?;
        Ok(Self { path, keep })
    }

    /// Whether it stays.
    pub const fn keeps(&self) -> bool {
        self.keep
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            throw_away(&self.path);
        }
    }
}

fn throw_away(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("{} could not be removed: {error}", path.display());
    }
}

/// The running product.
pub struct Product {
    /// Its engine, for the commands of the command line (explain, verify, sentence).
    pub engine: Arc<Engine>,
    /// The public API with the platform's key.
    pub platform: Api,
    /// The database's cluster.
    pub cluster: Cluster,
    service: Option<Service>,
}

impl Product {
    /// Starts it with these settings; listens on a free port of this machine.
    pub async fn start(settings: Settings, folder: &Path) -> Result<Self> {
        Self::start_with(settings, folder, false).await
    }

    /// The same; with `statements`, the server counts what each statement costs it.
    pub async fn start_with(mut settings: Settings, folder: &Path, statements: bool) -> Result<Self> {
        folder.clone_into(&mut settings.database.data_dir);
        let cluster = start_cluster(folder, &settings, statements).await?;
        match Self::beside(settings).await {
            Ok((engine, service, platform)) => Ok(Self { engine, platform, cluster, service: Some(service) }),
            Err(failure) => {
                stop_cluster(&cluster).await;
                Err(failure)
            }
        }
    }

    async fn beside(mut settings: Settings) -> Result<(Arc<Engine>, Service, Api)> {
        // The port is held until the moment before we listen on it: our own address must be known before the house is built.
        let held = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        settings.server.listen = held.local_addr()?;
        settings.server.environment = Environment::Sandbox;
        let house = house::build(settings, Permits::default()).await?;
        let engine = Arc::clone(&house.engine);
        pv_vault::partner::open_platform_accounts(&engine).await?;
        let key = api_key::ensure_platform_key(&engine, Environment::Sandbox).await?;
        let key = key.ok_or_else(|| Failure::new("the platform's key was made before; a throw-away product starts empty"))?;
        drop(held);
        let service = Service::start(Arc::new(house), Role::Both).await?;
        let address = service.address.ok_or_else(|| Failure::new("the product does not listen"))?;
        let platform = Api::new(&format!("http://{address}"), key.expose_secret())?;
        Ok((engine, service, platform))
    }

    /// Stops everything, the database too, and removes what stands outside the folder.
    pub async fn stop(mut self, folder: &Folder) {
        let service = self.service.take();
        drop(self.engine);
        if let Some(service) = service
            && let Some(house) = service.stop().await
        {
            house.close().await;
        }
        stop_cluster(&self.cluster).await;
        if !folder.keeps() {
            for path in [self.cluster.dir(), self.cluster.socket_dir()].into_iter().filter(|p| !p.starts_with(&folder.path)) {
                throw_away(path);
            }
        }
    }
}

/// The cluster is started here, so that it can be stopped with certainty; the house then finds it where it looks for it.
async fn start_cluster(folder: &Path, settings: &Settings, statements: bool) -> Result<Cluster> {
    let dir = folder.join("database");
    let most = settings.database.web_connections.saturating_add(settings.database.worker_connections).saturating_add(40);
    let defaults = ClusterOptions::default();
    let options = ClusterOptions { max_connections: most.max(defaults.max_connections), ..defaults };
    let start = move || Cluster::find_or_start_with(&dir, options);
    let cluster = tokio::task::spawn_blocking(start.clone()).await??;
    if !statements {
        return Ok(cluster);
    }
    let mut admin = sqlx::PgConnection::connect(&cluster.url("postgres", ADMIN)).await?;
    sqlx::raw_sql("alter system set shared_preload_libraries = 'pg_stat_statements'").execute(&mut admin).await?;
    admin.close().await?;
    stop_cluster(&cluster).await;
    let cluster = tokio::task::spawn_blocking(start).await??;
    cluster.ensure_database("payvault").await?;
    let mut admin = sqlx::PgConnection::connect(&cluster.url("payvault", ADMIN)).await?;
    sqlx::raw_sql("create extension if not exists pg_stat_statements").execute(&mut admin).await?;
    admin.close().await?;
    Ok(cluster)
}

async fn stop_cluster(cluster: &Cluster) {
    let cluster = cluster.clone();
    match tokio::task::spawn_blocking(move || cluster.stop()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("the database could not be stopped: {error}"),
        Err(error) => eprintln!("the database could not be stopped: {error}"),
    }
}
