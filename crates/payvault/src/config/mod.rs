//! The settings: defaults, then `payvault.toml`, then the environment (`PAYVAULT__SECTION__KEY`), then flags; the later wins.
//!
//! Unknown keys are refused, so that a mistyped one is found at the start. A secret may stand in a file: `url_file` instead of
//! `url`. Nothing here defaults to production (design, "Environments").

mod redacted;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use pv_hooks::{HookLimits, Rate, Sources, source};
use pv_vault::{EngineLimits, audit::Environment, engine::Step, partner::host_url::HostRules};
pub use redacted::redacted;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// The file that is read when it is there and no other is named.
pub const DEFAULT_FILE: &str = "payvault.toml";
/// The prefix of the environment variables.
const PREFIX: &str = "PAYVAULT";
/// Settings that are lists: in the environment separated by commas.
const LISTS: [&str; 3] = ["server.trusted_proxies", "server.callback_sources", "server.allowed_networks"];

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the data are.
    pub database: DatabaseSettings,
    /// How we are reached.
    pub server: ServerSettings,
    /// Keys outside the database.
    pub keys: KeySettings,
    /// The background work.
    pub worker: WorkerSettings,
    /// How much, how long.
    pub limits: LimitSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// The address of a PostgreSQL (also `DATABASE_URL`). Without one a private cluster is made in `data_dir`.
    pub url: Option<String>,
    /// A file that holds the address.
    pub url_file: Option<PathBuf>,
    /// The folder of the private cluster and of the keys.
    pub data_dir: PathBuf,
    /// Most sessions for requests.
    pub web_connections: u32,
    /// Most sessions for background work.
    pub worker_connections: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: None, url_file: None, data_dir: PathBuf::from(".payvault"), web_connections: 10, worker_connections: 14 }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Under which address providers and partners reach us; default in the sandbox: `http://` and `listen`.
    pub public_url: Option<String>,
    /// Networks of our own proxies: only their `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// From where M-Pesa posts. Default: Safaricom's published addresses in production, this machine in the sandbox.
    pub callback_sources: Option<Vec<IpNet>>,
    /// Private networks that we may call, for a core in the same network. In the sandbox everything may be called.
    pub allowed_networks: Vec<IpNet>,
    /// Test money or real money.
    pub environment: Environment,
    /// Where `/metrics` is served, inside the operator's network; without it there are none.
    pub metrics_listen: Option<SocketAddr>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            trusted_proxies: Vec::new(),
            callback_sources: None,
            allowed_networks: Vec::new(),
            environment: Environment::Sandbox,
            metrics_listen: None,
        }
    }
}

/// `[keys]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// The key ring of secrets at rest; default: `keys/encryption.keys` in the data folder.
    pub encryption_file: Option<PathBuf>,
    /// The key of the rail ids (rule A3); default: `keys/id.key` in the data folder. Back it up outside the database.
    pub id_file: Option<PathBuf>,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// Rows that a step takes at once.
    pub batch: i64,
    /// Loops that send payouts.
    pub pay_loops: usize,
    /// Loops that ask for the fate of payouts.
    pub ask_loops: usize,
    /// How often a step looks when nothing wakes it, in milliseconds, by the step's name. What is not named has its default.
    pub intervals_ms: BTreeMap<String, u64>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { batch: 200, pay_loops: 4, ask_loops: 2, intervals_ms: BTreeMap::new() }
    }
}

/// `[limits]`: times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// How long a claimed row belongs to its step.
    pub lease: u64,
    /// A payout's request is written to the socket before this much of the lease is over (rule A4).
    pub write_within: u64,
    /// First status question after an acceptance without a result.
    pub first_ask: u64,
    /// Longest interval between status questions.
    pub longest_ask: u64,
    /// First retry of a booking.
    pub first_booking_retry: u64,
    /// Longest interval between booking tries.
    pub longest_booking_retry: u64,
    /// An unknown payout has an owner after this (rule A12).
    pub unknown_owner: u64,
    /// An unknown payout pages after this (rule A12).
    pub unknown_page: u64,
    /// How long "locked" and "busy" keep a new attempt waiting (rule A8).
    pub retry_wait: u64,
    /// How often a shortcode's balances are asked.
    pub balance_every: u64,
    /// How often a waiting disbursement is looked at again.
    pub waiting_recheck: u64,
    /// Webhooks per second of one Mifos X host; ten times as many at once.
    pub webhooks_per_second: u32,
    /// Messages per second from one address that turn out to be nobody's; twenty times as many at once.
    pub strangers_per_second: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let e = EngineLimits::default();
        Self {
            lease: e.lease.as_secs(),
            write_within: e.write_within.as_secs(),
            first_ask: e.first_ask.as_secs(),
            longest_ask: e.longest_ask.as_secs(),
            first_booking_retry: e.first_booking_retry.as_secs(),
            longest_booking_retry: e.longest_booking_retry.as_secs(),
            unknown_owner: e.unknown_owner.as_secs(),
            unknown_page: e.unknown_page.as_secs(),
            retry_wait: e.retry_minutes.as_secs(),
            balance_every: e.balance_every.as_secs(),
            waiting_recheck: e.waiting_recheck.as_secs(),
            webhooks_per_second: 100,
            strangers_per_second: 5,
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What: `info`, or a filter such as `info,pv_transport=debug`.
    pub filter: String,
    /// As JSON lines.
    pub json: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}

/// Where settings come from. The binary reads the real environment; tests bring their own.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// A file that must be there; `None`: [`DEFAULT_FILE`], if it is there.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: HashMap<String, String>,
    /// Flags of the command line: `server.listen` and its value.
    pub flags: Vec<(&'static str, String)>,
}

/// Reads and checks the settings.
pub fn load(origins: Origins) -> Result<Settings> {
    let file = match &origins.file {
        Some(path) => config::File::from(path.as_path()).format(config::FileFormat::Toml).required(true),
        None => config::File::from(Path::new(DEFAULT_FILE)).format(config::FileFormat::Toml).required(false),
    };
    // The name that every host of PostgreSQL programs knows, weaker than our own.
    let usual = [("DATABASE_URL", "PAYVAULT__DATABASE__URL"), ("DATABASE_URL_FILE", "PAYVAULT__DATABASE__URL_FILE")]
        .into_iter()
        .filter_map(|(name, ours)| Some((ours.to_owned(), origins.env.get(name)?.clone())))
        .collect();
    let mut builder = config::Config::builder().add_source(file).add_source(environment(usual)).add_source(environment(origins.env));
    for (key, value) in origins.flags {
        builder = builder.set_override(key, value)?;
    }
    let mut settings: Settings =
        builder.build().and_then(config::Config::try_deserialize).map_err(|error| Failure::from(error).while_("reading the settings"))?;
    settings.database.open_url_file()?;
    settings.check()?;
    Ok(settings)
}

fn environment(variables: HashMap<String, String>) -> config::Environment {
    let mut source = config::Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .try_parsing(true)
        .list_separator(",")
        .source(Some(variables));
    for key in LISTS {
        source = source.with_list_parse_key(key);
    }
    source
}

impl DatabaseSettings {
    fn open_url_file(&mut self) -> Result<()> {
        let Some(path) = &self.url_file else { return Ok(()) };
        if self.url.is_some() {
            return Err(Failure::new("database.url and database.url_file are both set; set one"));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::from(error).while_(format_args!("reading database.url_file {}", path.display())))?;
        self.url = Some(text.trim().to_owned());
        Ok(())
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        self.check_public_url()?;
        for name in self.worker.intervals_ms.keys() {
            if !Step::ALL.iter().any(|step| step.name() == name) {
                let names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
                return Err(Failure::new(format!("worker.intervals_ms names {name:?}, which is no step; the steps are {}", names.join(", "))));
            }
        }
        let bounds: [(&str, i128, i128, i128); 8] = [
            ("worker.batch", self.worker.batch.into(), 1, 10_000),
            ("worker.pay_loops", self.worker.pay_loops as i128, 1, 64),
            ("worker.ask_loops", self.worker.ask_loops as i128, 1, 64),
            ("database.web_connections", self.database.web_connections.into(), 1, 1_000),
            ("database.worker_connections", self.database.worker_connections.into(), 3, 1_000),
            ("limits.lease", self.limits.lease.into(), 60, 3_600),
            ("limits.write_within", self.limits.write_within.into(), 1, self.limits.lease.saturating_sub(30).into()),
            ("limits.first_ask", self.limits.first_ask.into(), 1, self.limits.longest_ask.into()),
        ];
        match bounds.into_iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            Some((name, value, low, high)) => Err(Failure::new(format!("{name} is {value}; it must be between {low} and {high}"))),
            None => Ok(()),
        }
    }

    /// Safaricom refuses URLs with certain words, so such an address is refused here, with the setting's name (M-Pesa contract 8.4).
    fn check_public_url(&self) -> Result<()> {
        let url = self.public_url();
        let problem = |why: String| Err(Failure::new(format!("server.public_url is {url}: {why}")));
        if self.production() {
            if self.server.public_url.is_none() {
                return Err(Failure::new("server.public_url is not set; production needs the https:// address under which M-Pesa reaches us"));
            }
            if !url.starts_with("https://") {
                return problem("production needs https://".to_owned());
            }
        }
        let token = "0123456789abcdef0123456789abcdef";
        let mut forms = vec![url.clone()];
        forms.extend(pv_hooks::callback::MPESA_PATHS.iter().map(|(path, _)| format!("{url}/h/{token}/{path}")));
        for form in forms {
            if let Err(error) = pv_daraja::check_public_url(&form) {
                return problem(error.to_string());
            }
        }
        Ok(())
    }

    /// Real money.
    pub fn production(&self) -> bool {
        self.server.environment == Environment::Production
    }

    /// The public base URL, without a slash at the end.
    pub fn public_url(&self) -> String {
        match &self.server.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.server.listen),
        }
    }

    /// The file of the key ring.
    pub fn encryption_file(&self) -> PathBuf {
        self.keys.encryption_file.clone().unwrap_or_else(|| self.database.data_dir.join("keys").join("encryption.keys"))
    }

    /// The file of the id key.
    pub fn id_file(&self) -> PathBuf {
        self.keys.id_file.clone().unwrap_or_else(|| self.database.data_dir.join("keys").join("id.key"))
    }

    /// Which addresses hooks believe.
    pub fn sources(&self) -> Sources {
        let callbacks =
            self.server.callback_sources.clone().unwrap_or_else(|| if self.production() { source::safaricom() } else { source::loopback() });
        Sources { callbacks, proxies: self.server.trusted_proxies.clone() }
    }

    /// The limits of the doors.
    pub fn hook_limits(&self) -> HookLimits {
        let (webhooks, strangers) = (self.limits.webhooks_per_second, self.limits.strangers_per_second);
        HookLimits {
            per_webhook_token: Rate::new(webhooks, webhooks.saturating_mul(10)),
            strangers: Rate::new(strangers, strangers.saturating_mul(20)),
            ..HookLimits::default()
        }
    }

    /// Which hosts a partner may write into its connections.
    pub fn host_rules(&self) -> HostRules {
        match self.server.environment {
            Environment::Sandbox => HostRules::OPEN,
            Environment::Production => HostRules { allow_private: !self.server.allowed_networks.is_empty(), allow_plain_http: false },
        }
    }

    /// The limits of the engine.
    pub fn engine_limits(&self) -> EngineLimits {
        let l = &self.limits;
        let seconds = Duration::from_secs;
        EngineLimits {
            batch: self.worker.batch,
            lease: seconds(l.lease),
            write_within: seconds(l.write_within),
            first_ask: seconds(l.first_ask),
            longest_ask: seconds(l.longest_ask),
            first_booking_retry: seconds(l.first_booking_retry),
            longest_booking_retry: seconds(l.longest_booking_retry),
            unknown_owner: seconds(l.unknown_owner),
            unknown_page: seconds(l.unknown_page),
            retry_minutes: seconds(l.retry_wait),
            balance_every: seconds(l.balance_every),
            waiting_recheck: seconds(l.waiting_recheck),
            ..EngineLimits::default()
        }
    }

    /// How often a step looks when nothing wakes it.
    pub fn interval(&self, step: Step) -> Duration {
        if let Some(millis) = self.worker.intervals_ms.get(step.name()) {
            return Duration::from_millis((*millis).max(1));
        }
        match step {
            Step::Weigh | Step::Intake | Step::Pay | Step::Ask | Step::Book | Step::Sequence | Step::Notify | Step::Text => Duration::from_secs(1),
            Step::Fold => Duration::from_secs(2),
            Step::Poll | Step::Balance => Duration::from_secs(5),
            Step::Watch => Duration::from_secs(30),
            Step::Recheck => Duration::from_mins(1),
            Step::Verify => Duration::from_mins(10),
        }
    }
}

#[cfg(test)]
mod tests;
