//! What the API stands on; the binary puts it together.

use std::{future::Future, num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use ipnet::IpNet;
use pv_daraja::encrypt_initiator_password;
use pv_kernel::problem::Problem;
use pv_vault::{Engine, audit::Environment, engine::Step, partner::host_url::HostRules};
use secrecy::{ExposeSecret as _, SecretString};

/// Encrypts an initiator password (second) with a certificate in PEM (first); see [`daraja_encrypt`].
pub type Encrypt = Arc<dyn Fn(&str, &str) -> Result<String, Box<Problem>> + Send + Sync>;

/// Pokes background steps after a command, so that nobody waits for their next turn. A hint: the steps poll anyway.
pub type Wake = Arc<dyn Fn(&[Step]) + Send + Sync>;

/// Asks one thing; the error says what is wrong, without secrets.
pub type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// One more thing that must hold before this process takes requests, for `/readyz`.
#[derive(Clone)]
pub struct ReadyCheck {
    /// Its stable name, `migrations`.
    pub name: &'static str,
    /// Asks.
    pub run: Check,
}

impl std::fmt::Debug for ReadyCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadyCheck").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Limits of the door: part of the one table of limits in the operator guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimits {
    /// Largest request body, bytes.
    pub body: usize,
    /// Longest handling of one request.
    pub timeout: Duration,
    /// Requests per minute with one key; as many may come at once.
    pub per_key: NonZeroU32,
    /// Requests per minute from one address, with or without a key; as many may come at once.
    pub per_address: NonZeroU32,
    /// How long a twin of a running request waits for it before it is refused (rule D3).
    pub twin_wait: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        let per_minute = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            body: 64 * 1024,
            timeout: Duration::from_secs(30),
            per_key: per_minute(6_000),
            per_address: per_minute(12_000),
            twin_wait: Duration::from_secs(5),
        }
    }
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The house.
    pub engine: Arc<Engine>,
    /// Pokes background steps.
    pub wake: Wake,
    /// Which hosts a partner may name (private addresses in the sandbox only).
    pub host_rules: HostRules,
    /// What this installation moves: test money or real money. A key of the other environment is refused.
    pub environment: Environment,
    /// Encrypts initiator passwords.
    pub encrypt: Encrypt,
    /// Proxies whose `X-Forwarded-For` is believed; empty: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits of the door.
    pub limits: ApiLimits,
    /// Asked by `/readyz`, besides the database and the clock.
    pub ready_checks: Vec<ReadyCheck>,
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("environment", &self.environment).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl ApiState {
    /// With the strict defaults: public hosts only, nobody's `X-Forwarded-For`, Safaricom's encryption.
    pub fn new(engine: Arc<Engine>, environment: Environment, wake: Wake) -> Self {
        Self {
            engine,
            wake,
            host_rules: HostRules::STRICT,
            environment,
            encrypt: daraja_encrypt(),
            trusted_proxies: Vec::new(),
            limits: ApiLimits::default(),
            ready_checks: Vec::new(),
        }
    }

    /// Pokes these steps.
    pub(crate) fn wake(&self, steps: &[Step]) {
        (self.wake)(steps);
    }
}

/// The encryption of the M-Pesa contract, section 3, with its refusals at their members.
pub fn daraja_encrypt() -> Encrypt {
    use pv_daraja::CredentialError as E;
    Arc::new(|certificate, password| {
        let sealed = encrypt_initiator_password(certificate.as_bytes(), &SecretString::from(password.to_owned())).map_err(|error| {
            let pointer = match error {
                E::NotACertificate | E::NotAnRsaKey => "/certificate",
                E::NoPassword | E::Brackets | E::TooLong => "/initiator_password",
            };
            Box::new(Problem::invalid(pointer, error.to_string()))
        })?;
        Ok(sealed.expose_secret().to_owned())
    })
}
