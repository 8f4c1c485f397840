//! Migrations on a database with data in it: up, one by one down, and up again.

use pv_database::{
    cluster, migrate,
    temp::{Template, TestDatabase},
};

#[tokio::test]
async fn every_migration_goes_down_and_up_again_on_a_database_with_data() {
    let database = TestDatabase::create(&Template::payvault()).await;
    let report = pv_simulation::run_seed(&database.db(), 7).await;
    assert!(report.violations.is_empty() && report.loans > 0, "{:?}", report.violations);
    let url = database.url(cluster::ADMIN);
    let migrator = migrate::embedded();
    let mut versions: Vec<i64> = migrate::status(&url, &migrator).await.unwrap().iter().map(|s| s.version).collect();
    versions.sort_unstable();
    // Down to each version and up again from there: no down leaves something that stands in the way of its up.
    for target in versions.iter().rev().skip(1).copied().chain([0]) {
        migrate::down(&url, &migrator, target).await.unwrap_or_else(|e| panic!("down to {target}: {e}"));
        migrate::up(&url, &migrator).await.unwrap_or_else(|e| panic!("up from {target}: {e}"));
    }
    let again = pv_simulation::run_seed(&database.db(), 8).await;
    assert!(again.violations.is_empty(), "{:?}", again.violations);
}
