//! `payvault migrate up|down|status`.

use std::process::ExitCode;

use pv_database::migrate::{self, MigrationState};

use super::{print_json, print_table};
use crate::{
    cli::Migrate,
    config::Settings,
    failure::{Failure, Result},
    house::database::Place,
};

/// Changes or shows the schema.
pub async fn run(what: Migrate, settings: &Settings, json: bool) -> Result<ExitCode> {
    let place = Place::open(&settings.database).await?;
    let done = act(what, &place, settings, json).await;
    place.leave().await;
    done
}

async fn act(what: Migrate, place: &Place, settings: &Settings, json: bool) -> Result<ExitCode> {
    match what {
        Migrate::Up => place.bring_up(true).await?,
        Migrate::Down { yes: false, .. } => return Err(Failure::new("taking migrations back loses the rows of the tables they made: say --yes")),
        Migrate::Down { .. } if settings.production() => {
            return Err(Failure::new("in production migrations are not taken back: nothing with money in it is deleted (rule A20)"));
        }
        Migrate::Down { to, yes: true } => migrate::down(&place.owner_url(), &migrate::embedded(), to).await?,
        Migrate::Status => {}
    }
    let status = place.status().await?;
    if json {
        print_json(&status)?;
    } else {
        let rows: Vec<Vec<String>> = status.iter().map(|s| vec![format!("{:04}", s.version), s.description.clone(), words(&s.state)]).collect();
        print_table(&rows);
    }
    let good = status.iter().all(|s| matches!(s.state, MigrationState::Applied(_)));
    // Only the question "is it up?" can be answered with no.
    Ok(if good || !matches!(what, Migrate::Status) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn words(state: &MigrationState) -> String {
    let at = |at: &chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    match state {
        MigrationState::Pending => "not yet".to_owned(),
        MigrationState::Applied(when) => format!("applied {}", at(when)),
        MigrationState::Changed(when) => format!("applied {}, but the file was edited since", at(when)),
        MigrationState::Unknown(when) => format!("applied {} by a newer release", at(when)),
    }
}
