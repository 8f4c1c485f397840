//! The rate of a lane: a token bucket (governor) whose rate is halved when the other side throttles, and rises again
//! slowly. The rate is kept in thousandths of a call per second, so that no float is needed.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use pv_kernel::Clock;

use crate::options::PaceOptions;

/// Our clock as governor wants it.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// The rate limit of one lane.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    options: PaceOptions,
    /// Callers stand in line here, first come, first served.
    line: tokio::sync::Mutex<()>,
    now: Mutex<Option<Rate>>,
}

struct Rate {
    asked: u32,
    milli: u64,
    changed: Duration,
    throttled: Option<Duration>,
    bucket: Arc<Bucket>,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>, options: PaceOptions) -> Self {
        Self { clock, options, line: tokio::sync::Mutex::new(()), now: Mutex::new(None) }
    }

    /// Waits for a turn at `rate` calls per second. Dropping it gives the place in line away.
    pub(crate) async fn turn(&self, rate: u32) {
        let _place = self.line.lock().await;
        loop {
            let bucket = self.bucket(rate);
            let Err(not_yet) = bucket.check() else { return };
            tokio::time::sleep(not_yet.wait_time_from(self.clock.monotonic())).await;
        }
    }

    fn bucket(&self, asked: u32) -> Arc<Bucket> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.clock.monotonic();
        let fresh = || Rate { asked, milli: full(asked), changed: at, throttled: None, bucket: Arc::new(bucket_of(full(asked), &self.clock)) };
        let rate = now.get_or_insert_with(fresh);
        if rate.asked != asked {
            *rate = fresh();
        }
        if rate.milli < full(asked) && at.saturating_sub(rate.changed) >= self.options.raise_every {
            self.change(rate, rate.milli + full(asked) / 8, at);
        }
        Arc::clone(&rate.bucket)
    }

    /// The other side said "too fast": half the rate, once per second at most.
    pub(crate) fn throttled(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = now.as_mut() else { return };
        let at = self.clock.monotonic();
        if rate.throttled.is_some_and(|last| at.saturating_sub(last) < self.options.halve_at_most_every) {
            return;
        }
        rate.throttled = Some(at);
        self.change(rate, rate.milli / 2, at);
    }

    fn change(&self, rate: &mut Rate, milli: u64, at: Duration) {
        let lowest = full(rate.asked) / u64::from(self.options.lowest.max(1));
        rate.milli = milli.clamp(lowest.max(1), full(rate.asked));
        rate.changed = at;
        rate.bucket = Arc::new(bucket_of(rate.milli, &self.clock));
        // A new bucket is full. Its first call has just been made, as it were: a change must not let a burst through.
        let _spent = rate.bucket.check();
    }

    /// Thousandths of a call per second: now, and as asked. `None` before the first limited call.
    pub(crate) fn rates(&self) -> Option<(u64, u64)> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map(|r| (r.milli, full(r.asked)))
    }
}

/// A rate of 0 would stop the lane for ever; it is read as one call per second.
fn full(asked: u32) -> u64 {
    u64::from(asked.max(1)) * 1000
}

fn bucket_of(milli: u64, clock: &Arc<dyn Clock>) -> Bucket {
    let period = Duration::from_nanos((1_000_000_000_000 / milli.max(1)).max(1));
    // Spike arrest counts over short intervals, so a small rate gets no burst; a big one gets a tenth of a second, since
    // timers do not sleep exactly.
    let burst = u32::try_from(milli / 10_000).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
    RateLimiter::direct_with_clock(quota, Ticks(Arc::clone(clock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn throttling_halves_once_a_second_and_calm_raises_again() {
        let hand = Arc::new(Hand::default());
        let pace = Pace::new(Arc::clone(&hand) as Arc<dyn Clock>, PaceOptions::default());
        pace.throttled();
        assert_eq!(pace.rates(), None, "nothing to halve before the first call");
        pace.turn(8).await;
        pace.throttled();
        pace.throttled();
        assert_eq!(pace.rates(), Some((4000, 8000)), "two answers at once halve once");
        hand.0.fetch_add(1000, Ordering::Relaxed);
        pace.throttled();
        assert_eq!(pace.rates(), Some((2000, 8000)));
        hand.0.fetch_add(30_000, Ordering::Relaxed);
        let _bucket = pace.bucket(8);
        assert_eq!(pace.rates(), Some((3000, 8000)));
        for _ in 0..10 {
            hand.0.fetch_add(30_000, Ordering::Relaxed);
            let _bucket = pace.bucket(8);
        }
        assert_eq!(pace.rates(), Some((8000, 8000)), "never above what was asked");
        for _ in 0..10 {
            hand.0.fetch_add(1000, Ordering::Relaxed);
            pace.throttled();
        }
        assert_eq!(pace.rates(), Some((500, 8000)), "never below a sixteenth");
    }
}
