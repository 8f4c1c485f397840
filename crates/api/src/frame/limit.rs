//! How many requests may come: a token bucket per key and per address, on the house's own clock.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock as _, middleware::StateInformationMiddleware, state::keyed::DashMapStateStore};
use http::{HeaderMap, HeaderValue};
use pv_kernel::{Clock, problem::Problem};

/// After so many requests, buckets that are full again are forgotten: the table cannot grow for ever.
const SWEEP_EVERY: u64 = 4_096;

/// The kernel's clock as the bucket wants it.
#[derive(Clone)]
struct Monotonic(Arc<dyn Clock>);

impl governor::clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// Buckets by key.
pub struct Limiter<K: Clone + Hash + Eq> {
    name: &'static str,
    per_minute: NonZeroU32,
    buckets: RateLimiter<K, DashMapStateStore<K>, Monotonic, StateInformationMiddleware>,
    asked: AtomicU64,
    clock: Monotonic,
}

/// What a bucket says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    name: &'static str,
    /// Requests per minute.
    pub limit: u32,
    /// How many may come at once now.
    pub remaining: u32,
    /// Seconds until the next may come.
    pub reset: u64,
}

impl<K: Clone + Hash + Eq> Limiter<K> {
    /// So many a minute, all of them at once if they like.
    pub fn new(name: &'static str, per_minute: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        let clock = Monotonic(clock);
        let buckets = RateLimiter::dashmap_with_clock(Quota::per_minute(per_minute), clock.clone()).with_middleware::<StateInformationMiddleware>();
        Self { name, per_minute, buckets, asked: AtomicU64::new(0), clock }
    }

    /// Takes one, or says when to come again.
    pub fn take(&self, key: &K) -> Result<Left, (Left, Box<Problem>)> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.buckets.retain_recent();
        }
        let limit = self.per_minute.get();
        match self.buckets.check_key(key) {
            Ok(state) => Ok(Left { name: self.name, limit, remaining: state.remaining_burst_capacity(), reset: 0 }),
            Err(not_until) => {
                let wait: Duration = not_until.wait_time_from(self.clock.now());
                let reset = wait.as_secs() + u64::from(wait.subsec_nanos() != 0);
                let mut problem = Problem::refused(
                    "too_many_requests",
                    429,
                    format!("More than {limit} requests in a minute ({}).", self.name),
                    "Wait as long as Retry-After says, then send the request again.",
                );
                problem.retry_after = Some(u32::try_from(reset.max(1)).unwrap_or(60));
                Err((Left { name: self.name, limit, remaining: 0, reset: reset.max(1) }, Box::new(problem)))
            }
        }
    }

    /// How many buckets are kept.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// No bucket is kept.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

impl<K: Clone + Hash + Eq> std::fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name).field("per_minute", &self.per_minute).finish_non_exhaustive()
    }
}

impl Left {
    /// Writes `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn write(self, headers: &mut HeaderMap) {
        let policy = format!("\"{}\";q={};w=60", self.name, self.limit);
        let now = format!("\"{}\";r={};t={}", self.name, self.remaining, self.reset);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", now)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::{DateTime, Utc};

    use super::*;

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn a_full_bucket_lets_its_size_through_and_then_one_at_a_time() {
        let clock = Arc::new(Hand::default());
        let limiter = Limiter::new("key", NonZeroU32::new(3).unwrap(), clock.clone());
        for left in [2, 1, 0] {
            assert_eq!(limiter.take(&"a").unwrap().remaining, left);
        }
        let (left, problem) = limiter.take(&"a").unwrap_err();
        assert_eq!((left.remaining, problem.status, problem.retry_after), (0, 429, Some(20)));
        assert!(limiter.take(&"b").is_ok(), "another key has its own bucket");
        *clock.0.lock().unwrap() += Duration::from_secs(20);
        assert!(limiter.take(&"a").is_ok());
        assert!(limiter.take(&"a").is_err());
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let clock = Arc::new(Hand::default());
        let limiter = Limiter::new("address", NonZeroU32::new(60).unwrap(), clock.clone());
        for n in 0..SWEEP_EVERY - 1 {
            limiter.take(&n).unwrap();
        }
        assert!(limiter.len() > 4_000);
        *clock.0.lock().unwrap() += Duration::from_mins(2);
        limiter.take(&u64::MAX).unwrap();
        assert!(limiter.len() < 10, "{}", limiter.len());
    }
}
