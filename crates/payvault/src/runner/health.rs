//! How this process stands: whether its clock agrees with the database's, and so whether it may take work (rule D4).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use pv_database::Db;
use pv_kernel::{Clock as _, SystemClock};
use tokio_util::sync::CancellationToken;

/// How often the clocks are compared.
pub const EVERY: Duration = Duration::from_secs(30);
/// How soon after a failure.
const AGAIN: Duration = Duration::from_secs(2);
/// An answer that took longer says nothing about the clocks.
const SLOWEST: Duration = Duration::from_secs(1);
/// A measurement counts for this long: without the database nothing is claimed anyway.
const STALE: Duration = Duration::from_mins(3);

/// What is known about this process.
#[derive(Debug, Default)]
pub struct Health {
    skew_is_fine: AtomicBool,
    database_answers: AtomicBool,
    stopping: AtomicBool,
    skew_micros: AtomicI64,
    work: Mutex<BTreeMap<&'static str, Work>>,
}

/// What a step did in this process so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Runs that ended well.
    pub runs: u64,
    /// Rows taken.
    pub rows: u64,
    /// Runs that failed or panicked.
    pub failures: u64,
}

impl Health {
    /// Work may be taken.
    pub fn may_claim(&self) -> bool {
        self.skew_is_fine.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed)
    }

    /// Requests may come; the error says in words why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("stopping".to_owned());
        }
        if !self.database_answers.load(Ordering::Relaxed) {
            return Err("the database did not answer when the clocks were compared".to_owned());
        }
        if !self.skew_is_fine.load(Ordering::Relaxed) {
            return Err(format!("this machine's clock differs from the database's by {} ms", self.skew().num_milliseconds()));
        }
        Ok(())
    }

    /// Database clock minus ours, as last measured.
    pub fn skew(&self) -> chrono::Duration {
        chrono::Duration::microseconds(self.skew_micros.load(Ordering::Relaxed))
    }

    /// From now on nothing new is taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn worked(&self, step: &'static str, rows: usize) {
        self.note(step, |work| {
            work.runs = work.runs.saturating_add(1);
            work.rows = work.rows.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
        });
    }

    pub(super) fn failed(&self, step: &'static str) {
        self.note(step, |work| work.failures = work.failures.saturating_add(1));
    }

    fn note(&self, step: &'static str, change: impl FnOnce(&mut Work)) {
        change(self.work.lock().unwrap_or_else(PoisonError::into_inner).entry(step).or_default());
    }

    /// What each step did so far.
    pub fn work(&self) -> BTreeMap<&'static str, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a measurement in.
    pub(super) fn measured(&self, skew: chrono::Duration, most: Duration) {
        let fine = skew.abs().to_std().is_ok_and(|skew| skew <= most);
        self.skew_micros.store(skew.num_microseconds().unwrap_or(i64::MAX), Ordering::Relaxed);
        self.database_answers.store(true, Ordering::Relaxed);
        if self.skew_is_fine.swap(fine, Ordering::Relaxed) && !fine {
            tracing::error!(
                skew_ms = skew.num_milliseconds(),
                "this machine's clock differs too much from the database's: no work is taken until it is set right"
            );
        }
    }

    /// Compares the clocks once and corrects ours.
    pub async fn compare(&self, db: &Db, clock: &SystemClock, most: Duration) -> Result<(), String> {
        let before = clock.monotonic();
        let theirs = db.now().await.map_err(|error| {
            self.database_answers.store(false, Ordering::Relaxed);
            error.to_string()
        })?;
        let took = clock.monotonic().saturating_sub(before);
        if took > SLOWEST {
            return Err(format!("the database took {} ms to say what time it is", took.as_millis()));
        }
        // Its clock was read somewhere in between.
        let half = chrono::Duration::from_std(took / 2).unwrap_or_default();
        self.measured(clock.correct_to(theirs + half), most);
        Ok(())
    }

    /// Compares the clocks again and again, until the stop.
    pub async fn watch(self: Arc<Self>, db: Db, clock: Arc<SystemClock>, most: Duration, stop: CancellationToken) {
        let mut good_at = clock.monotonic();
        let mut pause = EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            match self.compare(&db, &clock, most).await {
                Ok(()) => (good_at, pause) = (clock.monotonic(), EVERY),
                Err(error) => {
                    tracing::warn!(error, "the clocks could not be compared");
                    pause = AGAIN;
                    if clock.monotonic().saturating_sub(good_at) > STALE {
                        self.skew_is_fine.store(false, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_only_while_the_clocks_agree() {
        let (health, most) = (Health::default(), Duration::from_secs(2));
        assert!(!health.may_claim() && health.ready().is_err(), "not before the first comparison");
        for (millis, fine) in [(0, true), (1_999, true), (-2_000, true), (2_001, false), (-5_000, false), (10, true)] {
            health.measured(chrono::Duration::milliseconds(millis), most);
            assert_eq!((health.may_claim(), health.ready().is_ok()), (fine, fine), "{millis} ms");
        }
        health.stop();
        assert!(!health.may_claim() && health.ready().is_err());
    }
}
