//! `payvault bench …`: what the product does under load, in figures. Each benchmark prints its conditions, and one JSON object as its
//! last line.

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Result;

/// The benchmarks.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {}

/// Runs one.
pub async fn run(what: Bench) -> Result<ExitCode> {
    match what {}
}
