//! `payvault admin …`: what must be possible at the machine when nothing else is.

use std::process::ExitCode;

use pv_kernel::ids::PartnerId;
use pv_vault::partner::api_key::{self, KeyLimits, NewKey};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::print_json;
use crate::{
    config::Settings,
    failure::Result,
    house::{self, Permits},
};

/// Makes an API key and shows it, this once.
pub async fn create_key(settings: Settings, label: String, role: String, partner: Option<Uuid>, json: bool) -> Result<ExitCode> {
    let house = house::build(settings, Permits::default()).await?;
    let new =
        NewKey { label, environment: house.settings.server.environment, role, addresses: Vec::new(), limits: KeyLimits::default(), expires_at: None };
    let made = api_key::create(&house.engine, &house.operator(), partner.map(PartnerId), new).await;
    house.close().await;
    let made = made?;
    if json {
        print_json(
            &serde_json::json!({ "id": made.view.id, "key": made.key.expose_secret(), "role": made.view.role, "partner_id": made.view.partner_id }),
        )?;
    } else {
        println!("{}", made.key.expose_secret());
        eprintln!("This key is shown once. Role {}, {}.", made.view.role, made.view.environment);
    }
    Ok(ExitCode::SUCCESS)
}
