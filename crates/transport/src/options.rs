//! Every limit of the transport in one table, with its default.

use std::{sync::Arc, time::Duration};

use pv_kernel::Clock;

use crate::address::AddressPolicy;

/// What a transport is made with. `new` fills in the defaults; change the fields that need it.
#[derive(Clone)]
pub struct TransportOptions {
    /// The clock of [`pv_kernel::transport::Call::write_before`] and of everything measured here.
    pub clock: Arc<dyn Clock>,
    /// Which addresses may be called. Default: public ones only.
    pub addresses: AddressPolicy,
    /// Longest wait for a connection (name, TCP and TLS), inside the timeout of the call. Default 10 s.
    pub connect_timeout: Duration,
    /// Largest answer body that is read, decompressed, in bytes. Default 2 MiB. A larger one is "no answer": the call
    /// may have been done.
    pub max_answer: usize,
    /// Calls at a time per lane. Default 16.
    pub concurrency: usize,
    /// Longest wait for a free place or a turn of the rate limit in a lane; the timeout of the call bounds it too. Default 10 s.
    pub max_wait: Duration,
    /// Most lanes that are remembered. Default 10,000; the one idle for longest is forgotten first.
    pub max_lanes: usize,
    /// The circuit breaker of each lane.
    pub breaker: BreakerOptions,
    /// How the rate of a lane follows throttling answers.
    pub pace: PaceOptions,
}

/// When a lane stops calling a host that fails, and when it tries again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// How many of the latest calls are looked at. Default 20.
    pub window: usize,
    /// No opening before so many calls. Default 10.
    pub minimum_calls: usize,
    /// Opens when this share of the window failed. Default 0.5.
    pub failure_rate: f64,
    /// Stays open for so long before it lets probes through. Default 15 s.
    pub open_for: Duration,
    /// So many probes must succeed to close it. Default 2.
    pub probes: usize,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { window: 20, minimum_calls: 10, failure_rate: 0.5, open_for: Duration::from_secs(15), probes: 2 }
    }
}

/// How the rate of a lane follows throttling answers (M-Pesa contract 8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceOptions {
    /// Several throttling answers within this time halve the rate only once. Default 1 s.
    pub halve_at_most_every: Duration,
    /// After so long without a throttling answer the rate rises by an eighth of what was asked. Default 30 s.
    pub raise_every: Duration,
    /// The rate never falls below the asked one divided by this. Default 16.
    pub lowest: u32,
}

impl Default for PaceOptions {
    fn default() -> Self {
        Self { halve_at_most_every: Duration::from_secs(1), raise_every: Duration::from_secs(30), lowest: 16 }
    }
}

impl TransportOptions {
    /// The defaults, with this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            addresses: AddressPolicy::default(),
            connect_timeout: Duration::from_secs(10),
            max_answer: 2 * 1024 * 1024,
            concurrency: 16,
            max_wait: Duration::from_secs(10),
            max_lanes: 10_000,
            breaker: BreakerOptions::default(),
            pace: PaceOptions::default(),
        }
    }
}
