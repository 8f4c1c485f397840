//! Seeds of the whole product, in every test run.

use pv_database::temp::{Template, TestDatabase};

async fn seeds(from: u64, count: u64) {
    let mut failing = Vec::new();
    let database = TestDatabase::create(&Template::payvault()).await;
    for seed in from..from + count {
        let report = pv_simulation::run_seed(&database.db(), seed).await;
        if !report.violations.is_empty() {
            eprintln!("seed {seed}:\n  {}", report.violations.join("\n  "));
            failing.push(seed);
        }
    }
    assert!(failing.is_empty(), "failing seeds: {failing:?}; replay one with: payvault simulate --seeds 1 --from N");
}

#[tokio::test]
async fn no_seed_of_the_first_block_pays_twice_or_loses_a_shilling() {
    seeds(1, 20).await;
}
