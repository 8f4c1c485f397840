//! `payvault sentence`: is all money explained?

use std::process::ExitCode;

use pv_kernel::ids::PartnerId;
use pv_vault::reconciliation::sentence;
use uuid::Uuid;

use super::print_json;
use crate::{
    config::Settings,
    failure::Result,
    house::{self, Permits},
};

/// Prints the sentence; money that is not explained is a failure.
pub async fn run(settings: Settings, partner: Option<Uuid>, json: bool) -> Result<ExitCode> {
    let house = house::build(settings, Permits::default()).await?;
    let said = sentence::sentence(&house.engine, partner.map(PartnerId)).await;
    house.close().await;
    let said = said?;
    if json {
        print_json(&said)?;
    } else {
        println!("{}", said.text);
    }
    Ok(if said.all_explained { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
