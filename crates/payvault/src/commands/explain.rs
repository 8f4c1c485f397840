//! `payvault explain NEEDLE`: the path of anything.

use std::process::ExitCode;

use pv_kernel::ids::PartnerId;
use pv_vault::reconciliation::explain;
use uuid::Uuid;

use super::print_json;
use crate::{
    config::Settings,
    failure::Result,
    house::{self, Permits},
};

/// Prints every path that the needle belongs to; none is a failure.
pub async fn run(settings: Settings, needle: &str, partner: Option<Uuid>, json: bool) -> Result<ExitCode> {
    let house = house::build(settings, Permits::default()).await?;
    let found = explain::explain(&house.engine, needle, partner.map(PartnerId)).await;
    house.close().await;
    let paths = found?;
    if json {
        print_json(&paths)?;
    } else if paths.is_empty() {
        println!("Nothing here has to do with {needle:?}. Look for a receipt, a phone, a loan, a reference or an id.");
    } else {
        let texts: Vec<String> = paths.iter().map(explain::Path::render).collect();
        println!("{}", texts.join("\n"));
    }
    Ok(if paths.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
