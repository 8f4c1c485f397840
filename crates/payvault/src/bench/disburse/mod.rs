//! `payvault bench disburse`: many partners, each with its own shortcode and limiter; loans are approved at simulated hosts, their
//! webhooks arrive, M-Pesa is paid, calls back, and the loan is booked. Simulators, product, load generator and PostgreSQL share the
//! machine; every commit is durable.
//!
//! Three measurements: (1) **saturation**, disbursements that are paid *and booked* per second while so many are on their way that
//! nothing ever waits for work; (2) **latency** at a quarter of that, open loop: from the moment a webhook is sent to the moment the
//! simulator has accepted the payment request; (3) saturation again with lost and doubled callbacks. Afterwards everything comes to rest
//! and is checked: no phone was paid twice, every loan is booked, the verifier finds nothing.

mod load;
mod town;

use std::{process::ExitCode, time::Duration};

use serde_json::json;
use sqlx::Connection as _;

use self::{
    load::{Load, Phase},
    town::Town,
};
use super::machine;
use crate::failure::{Failure, Result};

/// What the benchmark is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Shortcodes, each with a partner of its own
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=2_000))]
    pub shortcodes: u64,
    /// Length of each measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    pub seconds: u64,
    /// Webhooks per second of the latency measurement [default: a quarter of what saturation gave]
    #[arg(long)]
    pub rate: Option<f64>,
    /// Disbursements on their way at saturation
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub outstanding: u64,
    /// Requests per second that each shortcode may make
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub limit: u64,
    /// Send no texts to borrowers and staff
    #[arg(long)]
    pub no_texts: bool,
    /// Show what PostgreSQL was busy with (pg_stat_statements)
    #[arg(long)]
    pub profile: bool,
    /// Keep the data folder, to look into it afterwards
    #[arg(long)]
    pub keep: bool,
}

/// Callbacks lost and doubled in the faulty measurement, per mille.
const LOST: u16 = 100;
/// See [`LOST`].
const DOUBLED: u16 = 50;
/// Warm-up before each measurement.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long everything may take to come to rest.
const DRAIN: Duration = Duration::from_secs(90);

/// Measures, checks, and prints.
pub async fn run(args: Args) -> Result<ExitCode> {
    let town = Town::build(&args).await?;
    let measured = measure(&args, &town).await;
    let figures = match measured {
        Ok(figures) => Some(figures),
        Err(failure) => {
            eprintln!("payvault: {failure}");
            None
        }
    };
    town.leave().await;
    let Some((figures, sound)) = figures else { return Ok(ExitCode::FAILURE) };
    println!("{figures}");
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &Args, town: &Town) -> Result<(serde_json::Value, bool)> {
    conditions(args, town).await?;
    let load = Load::new(town);
    load.first_payments().await?;

    let clean = saturate(args, town, &load, "saturation").await?;
    profile(args, town, "saturation", clean.rate).await?;
    let rate = args.rate.unwrap_or((clean.rate / 4.0).max(1.0));
    let latency = load.open_loop(Phase { rate, warm_up: WARM_UP, length: Duration::from_secs(args.seconds) }).await?;
    println!(
        "latency      at {rate:.1}/s: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms over {} webhooks",
        latency.p50, latency.p90, latency.p99, latency.most, latency.count
    );
    let stages: Vec<String> = latency.stages.iter().map(|(name, p50, p99)| format!("{name} {p50:.1} ({p99:.1})")).collect();
    println!("             p50 (p99) in ms: {}", stages.join(", "));
    profile(args, town, "latency", rate).await?;
    load.drain(DRAIN).await?;
    town.faults(LOST, DOUBLED);
    let faulty = saturate(args, town, &load, "with faults").await?;
    town.faults(0, 0);

    let problems = town.check(load.sent()).await?;
    for problem in &problems {
        println!("NOT SOUND: {problem}");
    }
    let sound = problems.is_empty();
    if sound {
        println!("checked      {} disbursements: each paid once to its phone and booked once in its core; the verifier found nothing", load.sent());
    }
    let figures = json!({
        "webhook_to_accept_p50_ms": latency.p50, "webhook_to_accept_p99_ms": latency.p99, "latency_rate_per_s": round(rate),
        "disbursements_per_s": round(clean.rate), "faulty_disbursements_per_s": round(faulty.rate), "shortcodes": args.shortcodes,
        "seconds": args.seconds, "disbursements": load.sent(), "cores": machine::cores(), "texts": !args.no_texts, "sound": sound,
    });
    Ok((figures, sound))
}

fn round(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

/// What saturation gave.
struct Saturated {
    rate: f64,
}

async fn saturate(args: &Args, town: &Town, load: &Load<'_>, name: &str) -> Result<Saturated> {
    let measuring = async {
        tokio::time::sleep(WARM_UP).await;
        let (ticks, database, booked) = (machine::ticks(town.postmaster()), town.database().await?, town.booked().await?);
        let started = town.world.now();
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        let booked = town.booked().await? - booked;
        let took = (town.world.now() - started).as_seconds_f64();
        let after = town.database().await?;
        let rate = per(booked, took);
        let used = machine::ticks(town.postmaster());
        let busy = machine::busy(&ticks, &used, took);
        let shares: Vec<String> = machine::shares(&ticks, &used).into_iter().map(|(who, share)| format!("{who} {share} %")).collect();
        println!(
            "{name:<12} {rate:.1} disbursements/s paid and booked over {took:.0} s; {:.1} transactions and {:.1} rows written per disbursement; processor {busy} % busy with this: {}",
            per(after.commits - database.commits, 1.0) / per(booked, 1.0).max(1.0),
            per(after.written - database.written, 1.0) / per(booked, 1.0).max(1.0),
            shares.join(", ")
        );
        Ok::<f64, Failure>(rate)
    };
    let rate = load.keep_outstanding_while(args.outstanding, measuring).await?;
    let waited = load.drain(DRAIN).await?;
    println!("             came to rest {:.1} s after the last webhook", waited.as_secs_f64());
    Ok(Saturated { rate })
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark, far below 2^52")]
fn per(count: i64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Prints under which conditions the figures came about.
async fn conditions(args: &Args, town: &Town) -> Result<()> {
    let mut conn = sqlx::PgConnection::connect(&town.admin_url()).await?;
    let mut said = Vec::new();
    for name in ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_connections"] {
        let value: String = sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut conn).await?;
        said.push(format!("{name} {value}"));
    }
    conn.close().await?;
    println!("machine      {} cores, {}", machine::cores(), machine::processor().unwrap_or_else(|| "unknown processor".to_owned()));
    println!("PostgreSQL   {} (private cluster, unix socket)", said.join(", "));
    println!("build        {}", if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" });
    println!(
        "town         {} partners with a shortcode each at {} requests/s, {} Mifos X hosts with {} tenants, texts {}; simulators, product and load in one process",
        args.shortcodes,
        args.limit,
        town.world.hosts.len(),
        args.shortcodes,
        if args.no_texts { "off" } else { "on (borrower and staff)" }
    );
    println!(
        "load         {} outstanding at saturation; {} s per measurement after {} s of warm-up; M-Pesa takes 2 s from acceptance to callback, asked after {} s; with faults: {} % of callbacks lost, {} % doubled",
        args.outstanding,
        args.seconds,
        WARM_UP.as_secs(),
        town::FIRST_ASK,
        LOST / 10,
        DOUBLED / 10
    );
    Ok(())
}

/// What the database was busy with, statement by statement.
async fn profile(args: &Args, town: &Town, name: &str, rate: f64) -> Result<()> {
    if !args.profile {
        return Ok(());
    }
    println!("\n{name}: statements by time of the server, per disbursement paid at {rate:.0}/s");
    for line in town.statements().await? {
        println!("    {line}");
    }
    println!();
    Ok(())
}
