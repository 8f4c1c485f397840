//! Waking steps inside a process.

use pv_vault::engine::Step;
use tokio::sync::Notify;

/// One bell per step. A poke that meets nobody waiting is kept for the next who waits, once.
#[derive(Debug)]
pub struct Wakes(Vec<(Step, Notify)>);

impl Default for Wakes {
    fn default() -> Self {
        Self(Step::ALL.into_iter().map(|step| (step, Notify::new())).collect())
    }
}

impl Wakes {
    fn bell(&self, step: Step) -> Option<&Notify> {
        self.0.iter().find(|(known, _)| *known == step).map(|(_, bell)| bell)
    }

    /// Wakes one loop of this step.
    pub fn poke(&self, step: Step) {
        if let Some(bell) = self.bell(step) {
            bell.notify_one();
        }
    }

    /// Wakes one loop of each.
    pub fn poke_all(&self, steps: &[Step]) {
        for step in steps {
            self.poke(*step);
        }
    }

    /// Returns when the step was poked.
    pub async fn wait(&self, step: Step) {
        match self.bell(step) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }
}
