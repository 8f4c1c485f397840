//! How much may come in. The limits are generous: a lost hook costs a poll, a refused callback costs a status question.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::DashMapStateStore};
use pv_kernel::Clock;

/// So many at once, refilled at this pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Refill per second.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate; zero counts as one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN), burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN) }
    }

    fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.burst)
    }
}

/// The table of limits of the doors, shown in the operator guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookLimits {
    /// Per path token of a callback. A payout's token gets one or two messages in its life, so this stops only the absurd.
    pub per_callback_token: Rate,
    /// Per webhook token: one Mifos X host.
    pub per_webhook_token: Rate,
    /// Per address, before we know who it is.
    pub per_address: Rate,
    /// Per address, for messages that turned out to be nobody's or to come from where M-Pesa does not post. They are stored
    /// too, so this bounds what a stranger can make us keep.
    pub strangers: Rate,
    /// Messages being stored at once; more wait.
    pub at_once: usize,
    /// How long a caller waits for its message to be stored. The storing itself goes on.
    pub patience: Duration,
}

impl Default for HookLimits {
    fn default() -> Self {
        Self {
            per_callback_token: Rate::new(5, 100),
            per_webhook_token: Rate::new(100, 1_000),
            per_address: Rate::new(500, 5_000),
            strangers: Rate::new(5, 100),
            at_once: 64,
            patience: Duration::from_secs(8),
        }
    }
}

/// The monotonic clock of the house, as the limiter reads it.
#[derive(Clone)]
struct HouseClock(Arc<dyn Clock>);

impl clock::Clock for HouseClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// How many keys are remembered before those that are at rest are forgotten.
const REMEMBERED: usize = 10_000;

struct Keyed<K: Hash + Eq + Clone>(RateLimiter<K, DashMapStateStore<K>, HouseClock, NoOpMiddleware<Duration>>);

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: Rate, clock: HouseClock) -> Self {
        Self(RateLimiter::new(rate.quota(), DashMapStateStore::default(), clock))
    }

    fn allows(&self, key: &K) -> bool {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        self.0.check_key(key).is_ok()
    }
}

/// The buckets of one process.
pub(crate) struct Buckets {
    callback_tokens: Keyed<String>,
    webhook_tokens: Keyed<uuid::Uuid>,
    addresses: Keyed<Option<IpAddr>>,
    strangers: Keyed<Option<IpAddr>>,
}

impl Buckets {
    pub(crate) fn new(limits: &HookLimits, clock: &Arc<dyn Clock>) -> Self {
        let clock = HouseClock(Arc::clone(clock));
        Self {
            callback_tokens: Keyed::new(limits.per_callback_token, clock.clone()),
            webhook_tokens: Keyed::new(limits.per_webhook_token, clock.clone()),
            addresses: Keyed::new(limits.per_address, clock.clone()),
            strangers: Keyed::new(limits.strangers, clock),
        }
    }

    pub(crate) fn callback(&self, token: &str) -> bool {
        self.callback_tokens.allows(&token.to_owned())
    }

    pub(crate) fn webhook(&self, core: uuid::Uuid) -> bool {
        self.webhook_tokens.allows(&core)
    }

    pub(crate) fn address(&self, address: Option<IpAddr>) -> bool {
        self.addresses.allows(&network(address))
    }

    pub(crate) fn stranger(&self, address: Option<IpAddr>) -> bool {
        self.strangers.allows(&network(address))
    }
}

/// Who has one address of IPv6 has 2^64 of them: they count as one.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::{DateTime, Utc};

    use super::*;

    struct HandClock(Mutex<Duration>);

    impl Clock for HandClock {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn a_bucket_empties_and_refills_by_the_clock_of_the_house() {
        let clock = Arc::new(HandClock(Mutex::new(Duration::from_secs(10))));
        let limits = HookLimits { strangers: Rate::new(1, 2), ..HookLimits::default() };
        let buckets = Buckets::new(&limits, &(clock.clone() as Arc<dyn Clock>));
        let one: Option<IpAddr> = "2001:db8::1".parse().ok();
        let neighbour: Option<IpAddr> = "2001:db8::2".parse().ok();
        assert!(buckets.stranger(one) && buckets.stranger(neighbour), "one network of IPv6 is one stranger");
        assert!(!buckets.stranger(one));
        assert!(buckets.stranger("41.90.1.1".parse().ok()), "another address has its own bucket");
        *clock.0.lock().unwrap() += Duration::from_secs(1);
        assert!(buckets.stranger(one));
        assert!(!buckets.stranger(one));
    }
}
