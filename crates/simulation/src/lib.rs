//! The whole product under a seed: the real code of vault, ledger, store and clients against a real PostgreSQL and the simulated outside world. Time is a
//! value of the scheduler, and the scheduler picks what happens next: a step, a callback, a lost, doubled, late or forged message, an outage, a crash at
//! any outside call or commit, a person at a bad moment.
//!
//! After each run everything comes to rest, and the invariants are checked by the phones' and the simulators' own books, not by our tables.
//! A failing seed replays by its number.

pub mod chance;
pub mod house;
pub mod invariants;
pub mod process;
pub mod scheduler;
pub mod time;
pub mod wire;
pub mod world;

use std::time::Duration;

use pv_database::Db;
use serde::Serialize;

/// What became of one seed.
#[derive(Debug, Clone, Serialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What was violated; empty: nothing.
    pub violations: Vec<String>,
    /// Loans of the run.
    pub loans: usize,
    /// Loans that were paid.
    pub paid: usize,
    /// Crashes survived.
    pub crashes: usize,
    /// What happened, for people.
    pub story: Vec<String>,
}

/// What became of many seeds. Its JSON is the last line of `payvault simulate`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds that violated something.
    pub failed: u64,
    /// Seeds per second.
    pub seeds_per_s: f64,
    /// The numbers of the failing seeds.
    pub failing: Vec<u64>,
    /// Loans of all runs.
    pub loans: usize,
    /// Loans paid in all runs.
    pub paid: usize,
    /// Crashes survived in all runs.
    pub crashes: usize,
}

impl Report {
    /// Counts one seed.
    pub fn add(&mut self, seed: &SeedReport) {
        self.seeds += 1;
        self.loans += seed.loans;
        self.paid += seed.paid;
        self.crashes += seed.crashes;
        if !seed.violations.is_empty() {
            self.failed += 1;
            self.failing.push(seed.seed);
        }
    }
}

/// Runs one seed in a database.
pub async fn run_seed(db: &Db, seed: u64) -> SeedReport {
    match tokio::time::timeout(Duration::from_mins(2), scheduler::run(db, seed)).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            SeedReport { seed, violations: vec![format!("the run itself failed: {error}")], loans: 0, paid: 0, crashes: 0, story: Vec::new() }
        }
        Err(_) => {
            SeedReport { seed, violations: vec!["the run did not end within two minutes".into()], loans: 0, paid: 0, crashes: 0, story: Vec::new() }
        }
    }
}
