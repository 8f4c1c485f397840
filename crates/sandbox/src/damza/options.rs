//! How a simulated Damza is set up: accounts and dials.

use std::time::Duration;

/// A customer of the gateway.
#[derive(Debug, Clone)]
pub struct DamzaAccount {
    /// In the body of a send.
    pub username: String,
    /// In the body of a send.
    pub password: String,
    /// Bearer key, and key of the report signature.
    pub api_key: String,
    /// Registered sender ids; an empty list takes any but `NOTREG`.
    pub senders: Vec<String>,
    /// Prepaid balance, KES cents.
    pub balance_cents: i64,
    /// Where delivery reports go; none: no reports.
    pub report_url: Option<String>,
}

/// How the gateway is set up.
#[derive(Debug, Clone)]
pub struct DamzaOptions {
    /// Its customers.
    pub accounts: Vec<DamzaAccount>,
    /// Whether the last three digits of a recipient choose a behaviour (SMS contract 7).
    pub magic_numbers: bool,
}

/// Dials: how often, in a thousand. All off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamzaFaults {
    /// Answered 503; nothing was done.
    pub down: u16,
    /// Processed, but the connection closes without an answer.
    pub answer_lost: u16,
    /// The connection closes and nothing was done.
    pub dropped: u16,
    /// 429 with `Retry-After`.
    pub rate_limited: u16,
    /// The answer is slow, by up to `slow_up_to`.
    pub slow: u16,
    /// Longest extra wait.
    pub slow_up_to: Duration,
    /// No delivery report ever comes, though the text arrives.
    pub report_lost: u16,
    /// The last report comes twice.
    pub report_twice: u16,
    /// The text does not reach the phone and the report says so.
    pub undelivered: u16,
}

impl Default for DamzaOptions {
    fn default() -> Self {
        Self { accounts: vec![DamzaAccount::new("abcsacco", "sim-password", "sim-damza-key")], magic_numbers: true }
    }
}

impl DamzaAccount {
    /// An account that may use any sender, with KES 10,000 and no report address yet.
    pub fn new(username: &str, password: &str, api_key: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            api_key: api_key.to_owned(),
            senders: Vec::new(),
            balance_cents: 1_000_000,
            report_url: None,
        }
    }
}
