//! Seeds of the whole product, in every test run: a hundred, in four blocks that run side by side.

use pv_database::temp::{Template, TestDatabase};

async fn seeds(from: u64) {
    let mut failing = Vec::new();
    let database = TestDatabase::create(&Template::payvault()).await;
    for seed in from..from + 25 {
        let report = pv_simulation::run_seed(&database.db(), seed).await;
        if !report.violations.is_empty() {
            eprintln!("seed {seed}:\n  {}", report.violations.join("\n  "));
            failing.push(seed);
        }
    }
    assert!(failing.is_empty(), "failing seeds: {failing:?}; replay one with: payvault simulate --seeds 1 --from N --story");
}

#[tokio::test]
async fn no_loan_is_paid_twice_and_no_shilling_is_lost_in_seeds_1_to_25() {
    seeds(1).await;
}

#[tokio::test]
async fn no_loan_is_paid_twice_and_no_shilling_is_lost_in_seeds_26_to_50() {
    seeds(26).await;
}

#[tokio::test]
async fn no_loan_is_paid_twice_and_no_shilling_is_lost_in_seeds_51_to_75() {
    seeds(51).await;
}

#[tokio::test]
async fn no_loan_is_paid_twice_and_no_shilling_is_lost_in_seeds_76_to_100() {
    seeds(76).await;
}
