//! A process of the product: it can be killed at any outside call and at any commit.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use pv_database::{CommitHook, Crash};

/// Counts down to the moment at which the process dies. Negative: it lives. Once dead, everything it still tries fails, until it is started anew.
#[derive(Debug, Clone)]
pub struct Fate(Arc<AtomicI64>);

const LIVES: i64 = i64::MIN / 2;

impl Default for Fate {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(LIVES)))
    }
}

impl Fate {
    /// It dies at the `points`-th point from now.
    pub fn dies_after(&self, points: i64) {
        self.0.store(points, Ordering::SeqCst);
    }

    /// It is started anew and lives.
    pub fn lives(&self) {
        self.0.store(LIVES, Ordering::SeqCst);
    }

    /// Passes a point; true: the process is dead.
    pub fn passes(&self) -> bool {
        let left = self.0.load(Ordering::SeqCst);
        if left <= LIVES / 2 {
            return false;
        }
        if left <= 0 {
            return true;
        }
        self.0.store(left - 1, Ordering::SeqCst);
        false
    }
}

impl CommitHook for Fate {
    fn before_commit(&self, _label: &'static str) -> Result<(), Crash> {
        if self.passes() { Err(Crash) } else { Ok(()) }
    }

    fn after_commit(&self, _label: &'static str) -> Result<(), Crash> {
        if self.passes() { Err(Crash) } else { Ok(()) }
    }
}
