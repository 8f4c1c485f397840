//! `payvault simulate`: the whole product under seeds, against a throw-away database of its own.

use std::{process::ExitCode, time::Instant};

use pv_database::temp::{Template, TestDatabase};
use pv_simulation::{Report, SeedReport};

use crate::{cli::Simulate, failure::Result};

/// Runs seeds on both cores, tells of each that fails, and ends with one line of JSON.
#[expect(clippy::disallowed_methods, reason = "how long the seeds took on this machine is what is measured")]
pub async fn run(args: &Simulate) -> Result<ExitCode> {
    let started = Instant::now();
    let lanes = args.lanes.clamp(1, 16);
    let mut tasks = Vec::new();
    for lane in 0..lanes {
        let (from, seeds, story) = (args.from, args.seeds, args.story);
        tasks.push(tokio::spawn(async move {
            let mut reports = Vec::new();
            let mut database = None;
            for (n, seed) in
                (from..from.saturating_add(seeds)).skip(usize::try_from(lane).unwrap_or(0)).step_by(usize::try_from(lanes).unwrap_or(1)).enumerate()
            {
                // A database grows with every seed; a new one now and then keeps the verifier quick.
                if n % 25 == 0 || database.is_none() {
                    database = Some(TestDatabase::try_create(&Template::payvault()).await?);
                }
                let Some(database) = &database else { continue };
                let report = pv_simulation::run_seed(&database.db(), seed).await;
                tell(&report, story);
                reports.push(report);
            }
            Ok::<_, pv_database::temp::TempError>(reports)
        }));
    }
    let mut sum = Report::default();
    for task in tasks {
        for report in task.await.map_err(|e| crate::failure::Failure::new(format!("a lane of seeds ended: {e}")))?? {
            sum.add(&report);
        }
    }
    sum.failing.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = sum.seeds as f64 / started.elapsed().as_secs_f64().max(0.001);
    sum.seeds_per_s = (rate * 100.0).round() / 100.0;
    println!("{}", serde_json::to_string(&sum)?);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &SeedReport, story: bool) {
    if report.violations.is_empty() && !story {
        return;
    }
    println!("seed {}: {} loans, {} paid, {} crashes", report.seed, report.loans, report.paid, report.crashes);
    for violation in &report.violations {
        println!("  violated: {violation}");
    }
    if story || !report.violations.is_empty() {
        for line in &report.story {
            println!("  {line}");
        }
    }
    if !report.violations.is_empty() {
        println!("  replay: payvault simulate --seeds 1 --from {} --story", report.seed);
    }
}
