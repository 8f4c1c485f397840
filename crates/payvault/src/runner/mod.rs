//! Runs the background steps: each in a loop of its own, woken by what happened before it or by its interval.
//!
//! A step that panics, fails or is cut off loses nothing: it runs in a task, its rows come due again, and the loop goes on after a pause. Waking
//! is a hint and polling is the truth. Steps are claimed only while this process's clock agrees with the database's (rule D4), see [`health`].
//! What does not live here: what a step does.

pub mod bell;
pub mod health;
pub mod wakes;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use pv_kernel::Ids;
use pv_vault::{
    Engine, VaultError,
    engine::{Step, Worked},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{config::Settings, failure::Failure};
pub use health::Health;
pub use wakes::Wakes;

/// How long running steps may finish at a stop.
pub const LAST_STEPS: Duration = Duration::from_secs(30);
/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a loop waits before it looks again whether it may claim.
const NOT_NOW: Duration = Duration::from_millis(250);

/// One run of some work.
type Job = Arc<dyn Fn() -> BoxFuture<'static, Result<Worked, VaultError>> + Send + Sync>;

/// The loops of a process.
pub struct Runner {
    loops: JoinSet<()>,
    stop: CancellationToken,
}

/// What all loops share.
#[derive(Clone)]
struct Shared {
    wakes: Arc<Wakes>,
    health: Arc<Health>,
    ids: Arc<dyn Ids>,
    stop: CancellationToken,
}

/// One loop.
struct Loop {
    step: Step,
    interval: Duration,
    job: Job,
    shared: Shared,
}

impl Runner {
    /// Starts the loops of all steps.
    pub fn start(engine: &Arc<Engine>, wakes: &Arc<Wakes>, health: &Arc<Health>, settings: &Settings) -> Self {
        let stop = CancellationToken::new();
        let shared = Shared { wakes: Arc::clone(wakes), health: Arc::clone(health), ids: Arc::clone(&engine.ids), stop: stop.clone() };
        let mut loops = JoinSet::new();
        for step in Step::ALL {
            let times = match step {
                Step::Pay => settings.worker.pay_loops,
                Step::Ask => settings.worker.ask_loops,
                // A webhook does not wait behind a long batch of results.
                Step::Weigh | Step::Intake => 2,
                // A booking waits for a partner's host, which is slower than anything else here.
                Step::Book => 3,
                _ => 1,
            };
            let engine = Arc::clone(engine);
            let job: Job = Arc::new(move || {
                let engine = Arc::clone(&engine);
                Box::pin(async move { engine.run(step).await })
            });
            for _ in 0..times.max(1) {
                let one = Loop { step, interval: settings.interval(step), job: Arc::clone(&job), shared: shared.clone() };
                loops.spawn(one.run());
            }
        }
        Self { loops, stop }
    }

    /// Takes nothing new, lets running steps finish (30 s at most), and returns whether all did. What is cut off then comes due
    /// again when its lease ends.
    pub async fn stop(mut self) -> bool {
        self.stop.cancel();
        let finished = tokio::time::timeout(LAST_STEPS, async { while self.loops.join_next().await.is_some() {} }).await.is_ok();
        if !finished {
            tracing::warn!("steps did not finish in time; their rows come due again when their leases end");
        }
        finished
    }
}

impl Loop {
    async fn run(self) {
        let mut failures = 0u32;
        while !self.shared.stop.is_cancelled() {
            if !self.shared.health.may_claim() {
                self.pause(NOT_NOW, false).await;
                continue;
            }
            if let Some(worked) = self.attempt().await {
                failures = 0;
                self.shared.health.worked(self.step.name(), worked.taken);
                if worked.taken > 0 {
                    self.shared.wakes.poke_all(followers(self.step));
                }
                if worked.more {
                    // Sisters of this loop take their share of the rest.
                    self.shared.wakes.poke(self.step);
                    tokio::task::yield_now().await;
                } else {
                    self.pause(self.interval, true).await;
                }
            } else {
                failures = failures.saturating_add(1);
                self.shared.health.failed(self.step.name());
                self.pause(backoff(failures, self.shared.ids.as_ref()), false).await;
            }
        }
    }

    /// Runs it once, in a task: a panic ends the task and not the loop. `None`: it did not work.
    async fn attempt(&self) -> Option<Worked> {
        match tokio::spawn((self.job)()).await {
            Ok(Ok(worked)) => Some(worked),
            Ok(Err(error)) => {
                report(self.step.name(), &error);
                None
            }
            Err(error) => {
                tracing::error!(step = self.step.name(), %error, "a step panicked; its rows come due again");
                None
            }
        }
    }

    /// Until the time is over, the stop, or (if it may) a wake-up.
    async fn pause(&self, time: Duration, wakeable: bool) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.shared.wakes.wait(self.step), if wakeable => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}

/// A database that is away or busy is news, not a defect.
fn report(step: &'static str, error: &VaultError) {
    match error {
        VaultError::Db(db) if db.is_retryable() => tracing::warn!(step, error = %Failure::of(db), "a step could not run; it runs again"),
        other => tracing::error!(step, error = %Failure::of(other), "a step failed; it runs again"),
    }
}

/// What a step that did something gives work to.
const fn followers(step: Step) -> &'static [Step] {
    match step {
        Step::Weigh => &[Step::Intake, Step::Pay, Step::Ask, Step::Book, Step::Sequence],
        Step::Poll => &[Step::Intake],
        Step::Intake => &[Step::Pay, Step::Sequence],
        Step::Pay | Step::Ask | Step::Book => &[Step::Pay, Step::Book, Step::Fold, Step::Sequence],
        Step::Sequence => &[Step::Notify],
        Step::Notify => &[Step::Text],
        Step::Text | Step::Balance | Step::Fold | Step::Watch | Step::Recheck => &[Step::Sequence],
        Step::Verify => &[],
    }
}

/// Full jitter under a doubling bound: many loops that failed together do not come back together.
fn backoff(failures: u32, ids: &dyn Ids) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1u32 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    let mut random = [0u8; 2];
    ids.fill(&mut random);
    // Never less than a quarter, so that a failing step cannot spin.
    bound / 4 + (bound * 3 / 4).saturating_mul(u32::from(u16::from_le_bytes(random))) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
