//! How many requests came to the doors and what became of them, for metrics. What they were is in the table `messages`.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Stored, and something of ours has this path or token.
    Known,
    /// Stored, and nothing of ours has it.
    Unmatched,
    /// Over a limit or too large: not stored.
    Limited,
    /// Could not be stored.
    Failed,
}

/// The counters of one process.
#[derive(Debug, Default)]
pub struct HookCounts {
    known: AtomicU64,
    unmatched: AtomicU64,
    limited: AtomicU64,
    failed: AtomicU64,
}

impl HookCounts {
    pub(crate) fn add(&self, what: Counted) {
        self.cell(what).fetch_add(1, Ordering::Relaxed);
    }

    /// So many since the start.
    pub fn get(&self, what: Counted) -> u64 {
        self.cell(what).load(Ordering::Relaxed)
    }

    const fn cell(&self, what: Counted) -> &AtomicU64 {
        match what {
            Counted::Known => &self.known,
            Counted::Unmatched => &self.unmatched,
            Counted::Limited => &self.limited,
            Counted::Failed => &self.failed,
        }
    }
}
