//! One throw-away PostgreSQL cluster per test run, and databases in it that cost some milliseconds each.
//!
//! Test processes of one checkout and user share a cluster in a folder with a well-known name, whether the runner starts one process
//! per test or one thread per test. The first comer makes it. Each holds a shared lock on `users.lock` while it lives; a detached
//! watcher (`watcher.sh`) stops the cluster and deletes the folder when nobody has held it for [`IDLE_SECONDS`] seconds. Locks end with
//! their process, so nothing is left behind by `kill -9` either.
//!
//! Nothing here survives a power cut, and `trust` is all the authentication there is: for tests and demonstrations only.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    cluster::{ADMIN, Cluster, ClusterError, ClusterOptions, Identity},
    db::{Db, DbConfig, DbError},
    digest::fnv1a,
    migrate::{self, MigrationError, Migrator},
};

/// How long the cluster outlives its last user.
pub const IDLE_SECONDS: u32 = 10;
/// Memory is used for the files when the machine has this much left in it.
const ROOM_IN_MEMORY_KIB: u64 = 2 * 1024 * 1024;
/// The key of the advisory lock (in the database `postgres`) under which a template is made: "pv_templ" in ASCII.
const TEMPLATE_LOCK_KEY: i64 = 0x7076_5f74_656d_706c;

/// Why there is no database for a test.
#[derive(Debug, thiserror::Error)]
pub enum TempError {
    /// No cluster.
    #[error("starting the throw-away cluster")]
    Cluster(#[from] ClusterError),
    /// The shared folder or its locks.
    #[error("{what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The folder's name is taken by something that is not ours.
    #[error("{} belongs to another user", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The template's migrations failed.
    #[error("migrating the template")]
    Migration(#[from] MigrationError),
    /// The server refused.
    #[error("{what} a test database")]
    Sql {
        /// What was being done.
        what: &'static str,
        /// The reason.
        source: sqlx::Error,
    },
    /// The pools.
    #[error("connecting to a test database")]
    Db(#[from] DbError),
    /// A thread of ours was ended from outside.
    #[error("the thread that starts the cluster was lost")]
    Lost,
}

fn doing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TempError {
    let path = path.to_path_buf();
    move |source| TempError::Io { what, path, source }
}

fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> TempError {
    move |source| TempError::Sql { what, source }
}

/// The throw-away cluster of this run, held for as long as the process lives.
#[derive(Debug)]
pub struct TempCluster {
    cluster: Cluster,
    base: PathBuf,
    /// Shared-locked; its end, with the process or with this value, tells the watcher.
    _user: File,
}

impl TempCluster {
    /// The cluster that all tests of this checkout share. Blocks while it starts (about two seconds for the first comer).
    pub fn shared() -> Result<Arc<Self>, TempError> {
        static SHARED: Mutex<Option<Arc<TempCluster>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.as_ref() {
            return Ok(Arc::clone(known));
        }
        let checkout = fnv1a(&[env!("CARGO_MANIFEST_DIR").as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()]);
        let base = well_known(&format!("pv-pgtemp-{}-{checkout:016x}", Identity::own_uid()?));
        let found = Arc::new(Self::attach(&base, IDLE_SECONDS)?);
        *shared = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Joins, or makes, the throw-away cluster in this folder, which is deleted when nobody has used it for so many seconds.
    pub fn attach(base: &Path, idle_seconds: u32) -> Result<Self, TempError> {
        let user = loop {
            make_base(base)?;
            let path = base.join("users.lock");
            let file = match File::options().create(true).truncate(false).write(true).open(&path) {
                Ok(file) => file,
                // The watcher has just deleted the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(doing("opening", &path)(error)),
            };
            file.lock_shared().map_err(doing("locking", &path))?;
            // Did the watcher delete the folder while we waited for it? Then the lock is on a file without a name.
            let ours = file.metadata().map_err(doing("looking at", &path))?.ino();
            if fs::metadata(&path).is_ok_and(|named| named.ino() == ours) {
                break file;
            }
        };
        // The watcher first: should we be killed while the server starts, somebody cleans up.
        watch(base, idle_seconds)?;
        let options = ClusterOptions { durable: false, ..ClusterOptions::default() };
        let cluster = Cluster::find_or_start_with(&base.join("cluster"), options)?;
        Ok(Self { cluster, base: base.to_path_buf(), _user: user })
    }

    /// The cluster itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The folder that will be deleted.
    pub fn base(&self) -> &Path {
        &self.base
    }
}

/// In memory when there is room, else in the temporary folder; and where the cluster already is, if it is.
fn well_known(name: &str) -> PathBuf {
    let (in_memory, on_disk) = (Path::new("/dev/shm").join(name), std::env::temp_dir().join(name));
    if in_memory.is_dir() || (!on_disk.is_dir() && free_kib("/dev/shm") > ROOM_IN_MEMORY_KIB) { in_memory } else { on_disk }
}

fn free_kib(dir: &str) -> u64 {
    let Ok(output) = Command::new("df").args(["-Pk", dir]).stdin(Stdio::null()).output() else {
        return 0;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0)
}

/// Passable for the server's user, which may be another; writable for us alone.
fn make_base(base: &Path) -> Result<(), TempError> {
    match DirBuilder::new().mode(0o711).create(base) {
        Ok(()) => fs::set_permissions(base, Permissions::from_mode(0o711))
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(doing("opening", base)(error)) }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(base) {
            Ok(meta) if meta.is_dir() && meta.uid() == Identity::own_uid()? => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Err(TempError::NotOurs { path: base.to_path_buf() }),
        },
        Err(error) => Err(doing("making", base)(error)),
    }
}

/// Starts the watcher unless it lives, which its lock tells.
fn watch(base: &Path, idle_seconds: u32) -> Result<(), TempError> {
    let path = base.join("watcher.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(doing("opening", &path))?;
    match lock.try_lock() {
        Ok(()) => drop(lock),
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(doing("locking", &path)(error)),
    }
    // Should two processes come here at once, the second watcher does not get the lock and leaves.
    let mut watcher = Command::new("sh")
        .arg("-c")
        .arg(include_str!("watcher.sh"))
        .arg("pv-pgtemp-watcher")
        .arg(base)
        .arg(idle_seconds.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(doing("starting the watcher of", base))?;
    // Wait until it has its lock. It leaves at once when another has it, or when the machine has no flock (util-linux).
    for _ in 0..500 {
        if matches!(lock_state(&path), Held::Yes) {
            return Ok(());
        }
        if watcher.try_wait().map_err(doing("asking the watcher of", base))?.is_some() {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    if matches!(lock_state(&path), Held::No) {
        tracing::warn!("{} will not be deleted by itself: the program flock is missing", base.display());
    }
    Ok(())
}

enum Held {
    Yes,
    No,
}

fn lock_state(path: &Path) -> Held {
    let Ok(file) = File::options().write(true).open(path) else {
        return Held::No;
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Held::Yes,
        _ => Held::No,
    }
}

/// What a test database looks like when the test begins: these migrations, then these statements. Made once per run.
#[derive(Debug, Clone)]
pub struct Template {
    migrator: Arc<Migrator>,
    setup: String,
}

impl Template {
    /// The schema of the product, empty.
    pub fn payvault() -> Self {
        Self::new(migrate::embedded())
    }

    /// These migrations.
    pub fn new(migrator: Migrator) -> Self {
        Self { migrator: Arc::new(migrator), setup: String::new() }
    }

    /// And then this SQL, run as the owner.
    #[must_use]
    pub fn with_setup(mut self, sql: impl Into<String>) -> Self {
        self.setup = sql.into();
        self
    }

    /// A changed migration gives another name, and so another template.
    fn database_name(&self) -> String {
        let mut parts: Vec<&[u8]> = Vec::new();
        for migration in self.migrator.iter() {
            parts.push(&migration.checksum);
            parts.push(migration.description.as_bytes());
        }
        parts.push(self.setup.as_bytes());
        format!("template_{:016x}", fnv1a(&parts))
    }

    /// Makes the template in this cluster unless it is there whole. Any number of processes may come at once.
    async fn ensure(&self, cluster: &Cluster, admin: &mut PgConnection) -> Result<String, TempError> {
        let name = self.database_name();
        if is_whole(admin, &name).await? {
            return Ok(name);
        }
        sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK_KEY).execute(&mut *admin).await.map_err(sql("locking the template of"))?;
        if !is_whole(admin, &name).await? {
            let run = |text: String| sqlx::raw_sql(AssertSqlSafe(text));
            // What a killed process left half-made.
            admin.execute(run(format!("drop database if exists {name} with (force)"))).await.map_err(sql("clearing the template of"))?;
            admin.execute(run(format!("create database {name}"))).await.map_err(sql("making the template of"))?;
            let url = cluster.url(&name, ADMIN);
            migrate::up(&url, &self.migrator).await?;
            if !self.setup.is_empty() {
                let mut conn = PgConnection::connect(&url).await.map_err(sql("setting up the template of"))?;
                let setup = format!("set role {}; {}", migrate::OWNER_ROLE, self.setup);
                conn.execute(run(setup)).await.map_err(sql("setting up the template of"))?;
                conn.close().await.map_err(sql("setting up the template of"))?;
            }
            // The mark of a whole template; and nobody can connect, so it can always be copied.
            admin
                .execute(run(format!("alter database {name} is_template true allow_connections false")))
                .await
                .map_err(sql("sealing the template of"))?;
        }
        sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK_KEY).execute(admin).await.map_err(sql("unlocking the template of"))?;
        Ok(name)
    }
}

async fn is_whole(admin: &mut PgConnection, name: &str) -> Result<bool, TempError> {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1 and datistemplate)")
        .bind(name)
        .fetch_one(admin)
        .await
        .map_err(sql("looking for the template of"))
}

/// A database for one test, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    shared: Arc<TempCluster>,
    name: String,
    db: Db,
}

impl TestDatabase {
    /// Makes a database from the template, and the template if this is the first.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine, or a migration fails: a test cannot go on. [`TestDatabase::try_create`] says it as an error.
    #[expect(clippy::panic, reason = "for tests, which must fail when they have no database")]
    pub async fn create(template: &Template) -> Self {
        match Self::try_create(template).await {
            Ok(made) => made,
            Err(error) => panic!("no test database: {}", whole_story(&error)),
        }
    }

    /// Makes a database from the template, and the template if this is the first.
    pub async fn try_create(template: &Template) -> Result<Self, TempError> {
        let shared = tokio::task::spawn_blocking(TempCluster::shared).await.map_err(|_| TempError::Lost)??;
        Self::try_create_in(shared, template).await
    }

    /// The same in a throw-away cluster of the caller's choice.
    pub async fn try_create_in(shared: Arc<TempCluster>, template: &Template) -> Result<Self, TempError> {
        let cluster = shared.cluster();
        let mut admin = PgConnection::connect(&cluster.url("postgres", ADMIN)).await.map_err(sql("connecting to make"))?;
        let source = template.ensure(cluster, &mut admin).await?;
        // Named by the server's randomness: process numbers come again.
        let name: String =
            sqlx::query_scalar("select 't_' || replace(gen_random_uuid()::text, '-', '')").fetch_one(&mut admin).await.map_err(sql("naming"))?;
        let copy = format!("create database {name} template {source} strategy {COPY_STRATEGY}");
        admin.execute(sqlx::raw_sql(AssertSqlSafe(copy))).await.map_err(sql("making"))?;
        admin.close().await.map_err(sql("making"))?;
        let mut config = DbConfig::for_cluster(cluster, &name);
        config.web_connections = 5;
        config.worker_connections = 8;
        "payvault test".clone_into(&mut config.application_name);
        let db = Db::connect_lazy(&config)?;
        Ok(Self { shared, name, db })
    }

    /// The database, as the product sees it.
    pub fn db(&self) -> Db {
        self.db.clone()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A configuration for it, for tests that want their own pools.
    pub fn config(&self) -> DbConfig {
        DbConfig::for_cluster(self.shared.cluster(), &self.name)
    }

    /// Its address for one user of the database ([`ADMIN`], `pv_web`, `pv_worker`).
    pub fn url(&self, user: &str) -> String {
        self.shared.cluster().url(&self.name, user)
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &Cluster {
        self.shared.cluster()
    }
}

/// Measured with PostgreSQL 15, files in memory, a template of 60 tables with 180 indexes: `file_copy` 12 ms, `wal_log` 35 ms.
const COPY_STRATEGY: &str = "file_copy";

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let url = self.shared.cluster().url("postgres", ADMIN);
        let statement = format!("drop database if exists {} with (force)", self.name);
        // The runtime of the test may be single-threaded, and is blocked by us: a thread with its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&url).await.ok()?;
                admin.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.ok()?;
                admin.close().await.ok()
            })
        });
        // Best effort: what stays behind goes with the cluster.
        let _ = dropped.join();
    }
}

fn whole_story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
