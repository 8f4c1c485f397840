//! `payvault bench …`: what the product does under load, in figures. Each benchmark prints its conditions, and one JSON object as its
//! last line.

pub mod disburse;
mod machine;

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Result;

/// The benchmarks.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// From the webhook to the money and the booking: latency, throughput, and throughput with lost and doubled callbacks
    Disburse(disburse::Args),
}

/// Runs one.
pub async fn run(what: Bench) -> Result<ExitCode> {
    match what {
        Bench::Disburse(args) => disburse::run(args).await,
    }
}
