//! Runs seeds against a throw-away database: `cargo run -p pv-simulation --example seeds -- FROM COUNT [story]`.

use pv_database::temp::{Template, TestDatabase};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let count: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(10);
    let story = args.next().is_some();
    let database = TestDatabase::create(&Template::payvault()).await;
    let (mut failed, mut paid, mut loans, mut crashes) = (0, 0, 0, 0);
    for seed in from..from + count {
        let report = pv_simulation::run_seed(&database.db(), seed).await;
        paid += report.paid;
        loans += report.loans;
        crashes += report.crashes;
        if !report.violations.is_empty() {
            failed += 1;
            println!("seed {seed}:");
            for v in &report.violations {
                println!("  {v}");
            }
        }
        if story {
            println!("{}", report.story.join("\n"));
        }
    }
    println!("{count} seeds, {failed} failed, {loans} loans, {paid} paid, {crashes} crashes");
}
