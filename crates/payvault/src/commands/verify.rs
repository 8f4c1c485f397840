//! `payvault verify`: computes everything again, and keeps for the sentence what it found.

use std::process::ExitCode;

use pv_vault::reconciliation::verify;

use super::print_json;
use crate::{
    config::Settings,
    failure::Result,
    house::{self, Permits},
};

/// Prints the report; findings are a failure.
pub async fn run(settings: Settings, json: bool) -> Result<ExitCode> {
    let house = house::build(settings, Permits::default()).await?;
    let report = verify::verify_and_note(&house.engine).await;
    house.close().await;
    let report = report?;
    if json {
        print_json(&report)?;
    } else {
        print!("{}", report.render());
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
