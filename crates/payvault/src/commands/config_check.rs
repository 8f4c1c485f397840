//! `payvault config check`: the settings that are in force, without their secrets.

use std::process::ExitCode;

use super::print_json;
use crate::{
    config::{Settings, redacted},
    failure::Result,
};

/// Prints them. That they were read is the check.
pub fn run(settings: &Settings, json: bool) -> Result<ExitCode> {
    print_json(&redacted(settings)?)?;
    if !json {
        eprintln!("The settings are in order.");
    }
    Ok(ExitCode::SUCCESS)
}
