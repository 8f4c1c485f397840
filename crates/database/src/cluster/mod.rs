//! The private PostgreSQL cluster: found, made, started and reused, from the PostgreSQL programs of the machine.
//!
//! Whoever comes first makes and starts it; all later processes reuse it; it outlives them until [`Cluster::stop`].
//! It listens on a unix socket only, in a folder of mode 0700. **Authentication is `trust`**: whoever may enter the
//! socket folder (the server's own user, and root) may connect as any role. The folder is the guard. A process that
//! runs as root steps down to the user `postgres`, or `nobody` where there is none, because PostgreSQL refuses to run as root.
//!
//! All functions here block (they start programs and wait for them), except [`Cluster::ensure_database`]; asynchronous code
//! calls them in `spawn_blocking`. Who may do what inside a database is the matter of [`crate::migrate`].

mod binaries;
mod identity;
mod place;
mod postmaster;

use std::{
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

pub use binaries::OLDEST_VERSION;
pub(crate) use identity::Identity;
use postmaster::State;
use sqlx::{AssertSqlSafe, Connection, Executor};

/// The superuser of a private cluster. Only for migrations, backups and tests.
pub const ADMIN: &str = "pv_admin";

const LOCK_FILE: &str = "start.lock";
const START_LOG: &str = "start.log";
/// How often we look again while we wait.
const PAUSE: Duration = Duration::from_millis(25);

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No PostgreSQL on this machine.
    #[error(
        "PostgreSQL {OLDEST_VERSION} or newer is not installed (looked in {looked}): install it (Debian and Ubuntu: apt install postgresql; macOS: brew install postgresql), or set PAYVAULT_PG_BIN to the folder of initdb, or set DATABASE_URL"
    )]
    NoBinaries {
        /// The places that were searched.
        looked: String,
    },
    /// There is a PostgreSQL, but it is too old.
    #[error(
        "PostgreSQL {found} in {} is too old: install {OLDEST_VERSION} or newer (Debian and Ubuntu: apt install postgresql), or set PAYVAULT_PG_BIN to its folder",
        place.display()
    )]
    TooOld {
        /// The major version that was found.
        found: u32,
        /// Its folder.
        place: PathBuf,
    },
    /// We are root and there is neither a user `postgres` nor a user `nobody`, or the program `id` is missing.
    #[error("PostgreSQL does not run as root, and this machine has no user postgres or nobody: run payvault as an ordinary user")]
    NoUser,
    /// The folder holds something else, or belongs to somebody else. It was not touched.
    #[error("{} holds other things or belongs to another user: choose an empty folder for the database", dir.display())]
    NotOurs {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder's name cannot go into PostgreSQL's configuration.
    #[error("the folder {} has a quote, a dollar sign, a backslash or a control character in its name: choose another", dir.display())]
    BadName {
        /// The folder.
        dir: PathBuf,
    },
    /// The cluster in the folder was made by another major version.
    #[error("the database in {} was made by PostgreSQL {made_by}, and the programs found are of another version: set PAYVAULT_PG_BIN to version {made_by}, or upgrade it with pg_upgrade", dir.display())]
    OtherVersion {
        /// The cluster's folder.
        dir: PathBuf,
        /// The major version that made it.
        made_by: String,
    },
    /// The file system refused.
    #[error("{what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A PostgreSQL program failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// Another process holds the start lock for too long, or the server does not answer.
    #[error("the database in {} did not answer in {seconds} s; its last words: {said}", dir.display())]
    NotAnswering {
        /// The cluster's folder.
        dir: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// The end of the server's log.
        said: String,
    },
    /// A database name that is not a plain word.
    #[error("a database name is made of small letters, digits and _, at most 63")]
    BadDatabaseName,
    /// The server refused to make the database.
    #[error("making the database {name}")]
    Sql {
        /// The database.
        name: String,
        /// The reason.
        source: sqlx::Error,
    },
}

fn doing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_path_buf();
    move |source| ClusterError::Io { what, path, source }
}

/// How a cluster is made and started.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// True: every commit is on the disk before it is acknowledged. False (tests only): a power cut loses everything.
    pub durable: bool,
    /// The folder of `initdb`, `pg_ctl` and `postgres`; `None`: it is searched.
    pub pg_bin: Option<PathBuf>,
    /// The most sessions at once.
    pub max_connections: u32,
    /// How long a start may take; recovery after a power cut is part of it.
    pub start_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { durable: true, pg_bin: None, max_connections: 200, start_timeout: Duration::from_mins(2) }
    }
}

/// A private cluster that answers (or answered when it was found).
#[derive(Debug, Clone)]
pub struct Cluster {
    dir: PathBuf,
    socket_dir: PathBuf,
    bin: PathBuf,
    identity: Identity,
    options: ClusterOptions,
    note: Option<String>,
}

impl Cluster {
    /// Finds the cluster of this folder, or makes and starts it, with the default options: durable.
    pub fn find_or_start(data_dir: &Path) -> Result<Self, ClusterError> {
        Self::find_or_start_with(data_dir, ClusterOptions::default())
    }

    /// Finds the cluster of this folder, or makes and starts it. The folder is the cluster's own: empty, missing, or
    /// made by an earlier call. Any number of processes may call this at once.
    pub fn find_or_start_with(data_dir: &Path, options: ClusterOptions) -> Result<Self, ClusterError> {
        let identity = Identity::of_server()?;
        let path = std::env::var_os("PATH");
        let find = |wanted| binaries::find(options.pg_bin.as_deref(), path.as_deref(), wanted);
        // Asked before any folder is made.
        let mut bin = find(None)?;
        let place = place::prepare(data_dir, identity, &options)?;
        let made_by = fs::read_to_string(place.dir.join("pgdata/PG_VERSION")).ok();
        if let Some(made_by) = made_by.and_then(|text| text.trim().parse().ok()) {
            bin = find(Some(made_by))?;
        }
        let mut cluster = Self { socket_dir: PathBuf::new(), dir: place.dir, bin, identity, options, note: place.note };
        if let Some(note) = &cluster.note {
            tracing::warn!("{note}");
        }
        let _lock = cluster.lock()?;
        cluster.make()?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Stops the server: sessions are ended, running transactions are rolled back, nothing committed is lost. Does nothing
    /// when it does not run.
    pub fn stop(&self) -> Result<(), ClusterError> {
        let _lock = self.lock()?;
        if matches!(postmaster::state(&self.pgdata()), State::Stopped | State::Stale) {
            return Ok(());
        }
        let mut command = self.identity.command(&self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.pgdata()).args(["stop", "-m", "fast", "-w", "-t", "60"]);
        run("pg_ctl stop", command)
    }

    /// The address of a database in this cluster for one user of the database ([`ADMIN`], `pv_web`, `pv_worker`).
    pub fn url(&self, database: &str, user: &str) -> String {
        let socket = percent_encoded(&self.socket_dir);
        let (user, database) = (percent_encoded(Path::new(user)), percent_encoded(Path::new(database)));
        format!("postgres://{user}@localhost:5432/{database}?host={socket}&sslmode=disable")
    }

    /// Makes the database if it is not there.
    pub async fn ensure_database(&self, name: &str) -> Result<(), ClusterError> {
        check_database_name(name)?;
        let sql = |source| ClusterError::Sql { name: name.to_owned(), source };
        let mut conn = sqlx::PgConnection::connect(&self.url("postgres", ADMIN)).await.map_err(sql)?;
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)").bind(name).fetch_one(&mut conn).await.map_err(sql)?;
        if !exists {
            let made = conn.execute(AssertSqlSafe(format!("create database {name}"))).await;
            match made {
                Ok(_) => {}
                // Somebody else was faster: "duplicate database", or the same seen by the catalogue's index.
                Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
                Err(error) => return Err(sql(error)),
            }
        }
        conn.close().await.map_err(sql)
    }

    /// The folder that holds the cluster; not always the one asked for, see [`Cluster::note`].
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of PostgreSQL's own files, for backups.
    pub fn pgdata(&self) -> PathBuf {
        self.dir.join("pgdata")
    }

    /// The folder of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The folder of the PostgreSQL programs in use.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// A sentence for the operator when the cluster is not where it was asked to be.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// A command (`pg_basebackup`, `pg_dump`) of the same PostgreSQL that runs as the server's user.
    pub fn command(&self, program: &str) -> Command {
        self.identity.command(&self.bin.join(program))
    }

    /// One process at a time makes, starts or stops. The lock ends with the process, also by `kill -9`.
    fn lock(&self) -> Result<File, ClusterError> {
        let path = self.dir.join(LOCK_FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(doing("opening the lock", &path))?;
        // Its holder may wait for a start of the full length.
        let patience = self.options.start_timeout.saturating_mul(2);
        for _ in 0..rounds(patience) {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Err(TryLockError::Error(error)) => {
                    return Err(doing("taking the lock", &path)(error));
                }
            }
        }
        Err(self.not_answering(patience))
    }

    /// Makes the cluster if there is none. A half-made one (from a killed process) is thrown away: it never had the final name.
    fn make(&self) -> Result<(), ClusterError> {
        let pgdata = self.pgdata();
        if let Ok(made_by) = fs::read_to_string(pgdata.join("PG_VERSION")) {
            return self.check_version(made_by.trim());
        }
        let half = self.dir.join("pgdata.new");
        if half.exists() {
            fs::remove_dir_all(&half).map_err(doing("removing a half-made cluster", &half))?;
        }
        // Character classes of Unicode, order of code points: no index changes its order when the machine's library does.
        let unicode = self.initdb(&half, "C.UTF-8");
        if unicode.is_err() {
            if half.exists() {
                fs::remove_dir_all(&half).map_err(doing("removing a half-made cluster", &half))?;
            }
            self.initdb(&half, "C")?;
        }
        let conf = half.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).map_err(doing("reading", &conf))?;
        text.push_str("\n# Written by payvault at each start.\ninclude_if_exists = '../payvault.conf'\n");
        fs::write(&conf, text).map_err(doing("writing", &conf))?;
        fs::rename(&half, &pgdata).map_err(doing("naming the new cluster", &pgdata))
    }

    fn initdb(&self, target: &Path, ctype: &str) -> Result<(), ClusterError> {
        let mut command = self.identity.command(&self.bin.join("initdb"));
        command.arg("-D").arg(target).args(["-U", ADMIN, "-E", "UTF8", "--no-instructions"]);
        command.args(["--auth-local=trust", "--auth-host=reject", "--locale=C"]).arg(format!("--lc-ctype={ctype}"));
        if self.options.durable {
            command.arg("--data-checksums");
        } else {
            command.arg("--no-sync");
        }
        run("initdb", command)
    }

    fn check_version(&self, made_by: &str) -> Result<(), ClusterError> {
        let output = self.command("postgres").arg("--version").output().map_err(doing("asking the version of", &self.bin))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let same = said.split_whitespace().any(|word| word.strip_prefix(made_by).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())));
        if same { Ok(()) } else { Err(ClusterError::OtherVersion { dir: self.dir.clone(), made_by: made_by.to_owned() }) }
    }

    /// Starts the server unless it runs, and waits until it answers. Called under the lock.
    fn start(&mut self) -> Result<(), ClusterError> {
        let pgdata = self.pgdata();
        let mut attempts_left = 5_u32;
        for _ in 0..rounds(self.options.start_timeout) {
            match postmaster::state(&pgdata) {
                State::Running { socket_dir } => {
                    self.socket_dir = socket_dir;
                    return Ok(());
                }
                State::Busy => sleep(PAUSE),
                State::Stale => {
                    let socket_dir = place::socket_dir(&self.dir, self.identity)?;
                    postmaster::disown(&pgdata, &socket_dir).map_err(doing("clearing a stale", &pgdata.join("postmaster.pid")))?;
                }
                State::Stopped => {
                    let socket_dir = place::socket_dir(&self.dir, self.identity)?;
                    self.configure(&socket_dir)?;
                    let mut command = self.identity.command(&self.bin.join("pg_ctl"));
                    let seconds = self.options.start_timeout.as_secs().max(1).to_string();
                    command.arg("-D").arg(&pgdata).arg("-l").arg(self.dir.join(START_LOG));
                    command.args(["start", "-w", "-s", "-t", &seconds]);
                    if let Err(error) = run("pg_ctl start", command) {
                        attempts_left = attempts_left.saturating_sub(1);
                        if attempts_left == 0 {
                            let said = format!("{error}; {}", self.last_words());
                            return Err(ClusterError::Program { program: "pg_ctl start", said });
                        }
                        // Sessions of a killed server may still be going away; they hold its memory.
                        sleep(Duration::from_millis(500));
                    }
                }
            }
        }
        Err(self.not_answering(self.options.start_timeout))
    }

    /// Writes the settings file, whole or not at all. It is written at each start, so that a new release can change it.
    fn configure(&self, socket_dir: &Path) -> Result<(), ClusterError> {
        let path = self.dir.join("payvault.conf");
        let fresh = self.dir.join("payvault.conf.new");
        fs::write(&fresh, settings(socket_dir, &self.options)).map_err(doing("writing", &fresh))?;
        if self.identity.steps_down {
            // Whatever root's umask says, the server must be able to read it.
            chown(&fresh, Some(self.identity.uid), Some(self.identity.gid)).map_err(doing("giving away", &fresh))?;
        }
        fs::rename(&fresh, &path).map_err(doing("writing", &path))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.dir.join(START_LOG)).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(4).collect();
        lines.reverse();
        lines.join(" | ")
    }

    fn not_answering(&self, waited: Duration) -> ClusterError {
        ClusterError::NotAnswering { dir: self.dir.clone(), seconds: waited.as_secs(), said: self.last_words() }
    }
}

fn settings(socket_dir: &Path, options: &ClusterOptions) -> String {
    let mut text = String::from("# Written by payvault at each start; put your own settings into postgresql.conf below the include.\n");
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = '{value}'");
    };
    set("listen_addresses", "");
    set("port", "5432");
    set("unix_socket_directories", &socket_dir.to_string_lossy());
    set("unix_socket_permissions", "0700");
    set("max_connections", &options.max_connections.to_string());
    set("timezone", "UTC");
    set("log_timezone", "UTC");
    set("jit", "off");
    if options.durable {
        set("fsync", "on");
        set("synchronous_commit", "on");
        set("full_page_writes", "on");
        set("logging_collector", "on");
        set("log_directory", "log");
        set("log_filename", "postgresql-%a.log");
        set("log_truncate_on_rotation", "on");
        set("log_rotation_age", "1d");
        // Queues are short tables that change all the time: looked at often, or claims read thousands of dead rows and plans are made for
        // tables that were empty once.
        set("autovacuum_naptime", "5s");
        set("autovacuum_vacuum_scale_factor", "0.05");
        set("autovacuum_vacuum_threshold", "500");
        set("autovacuum_analyze_scale_factor", "0.1");
        set("autovacuum_analyze_threshold", "500");
        // Failing statements can carry phone numbers; the programs' own log has what is needed, redacted.
        set("log_min_error_statement", "panic");
        set("log_parameter_max_length_on_error", "0");
    } else {
        set("fsync", "off");
        set("synchronous_commit", "off");
        set("full_page_writes", "off");
        set("wal_level", "minimal");
        set("max_wal_senders", "0");
        set("max_wal_size", "512MB");
        set("logging_collector", "off");
    }
    text
}

/// How many pauses fill this time.
fn rounds(time: Duration) -> u128 {
    (time.as_millis() / PAUSE.as_millis()).max(1)
}

fn run(program: &'static str, mut command: Command) -> Result<(), ClusterError> {
    let output = command.output().map_err(|source| ClusterError::Io { what: "starting", path: PathBuf::from(command.get_program()), source })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = stderr.lines().chain(stdout.lines()).filter(|line| !line.trim().is_empty()).take(4).collect();
    Err(ClusterError::Program { program, said: said.join(" | ") })
}

fn check_database_name(name: &str) -> Result<(), ClusterError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts_well && plain && name.len() <= 63 { Ok(()) } else { Err(ClusterError::BadDatabaseName) }
}

fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-') {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_is_a_plain_word() {
        for good in ["payvault", "_x", "t_0123"] {
            assert!(check_database_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "A", "a b", "a;drop database b", "a\"", &"x".repeat(64)] {
            assert!(matches!(check_database_name(bad), Err(ClusterError::BadDatabaseName)), "{bad}");
        }
    }

    #[test]
    fn only_throw_away_clusters_run_without_fsync() {
        let durable = settings(Path::new("/s"), &ClusterOptions::default());
        assert!(durable.contains("fsync = 'on'") && !durable.contains("'off'\nsynchronous"), "{durable}");
        let throw_away = ClusterOptions { durable: false, ..ClusterOptions::default() };
        assert!(settings(Path::new("/s"), &throw_away).contains("fsync = 'off'"));
        assert!(durable.contains("listen_addresses = ''"));
    }
}
