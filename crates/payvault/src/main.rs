//! Payment Vault, the binary: it alone reads settings, chooses clients for ports, and runs things.
//!
//! - [`cli`]: the command line; [`commands`]: a file per command;
//! - [`config`]: the settings; [`house`]: puts the engine together; [`runner`]: runs the background steps; [`serve`]: requests and both.

mod bench;
mod cli;
mod commands;
mod config;
mod demo;
mod failure;
mod house;
mod logs;
mod metrics;
mod runner;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command, Common, Role},
    config::{Origins, Settings},
    failure::Result,
    house::Permits,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.common.json;
    match run(cli) {
        Ok(code) => code,
        Err(failure) if json => {
            println!("{}", serde_json::json!({ "error": failure.to_string() }));
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("payvault: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let settings = settings(&cli)?;
    logs::start(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(cli, settings))
}

/// The settings, with the flags of the command line on top.
fn settings(cli: &Cli) -> Result<Settings> {
    let mut flags: Vec<(&'static str, String)> = Vec::new();
    let Common { config, data_dir, log, .. } = &cli.common;
    if let Some(dir) = data_dir {
        flags.push(("database.data_dir", dir.display().to_string()));
    }
    match (log, &cli.command) {
        (Some(filter), _) => flags.push(("log.filter", filter.clone())),
        // A command for a person at a terminal is answered, not logged.
        (None, Command::Serve(_) | Command::Worker(_) | Command::Sandbox(_) | Command::Config(_)) => {}
        // Things go wrong there on purpose, again and again.
        (None, Command::Demo(_) | Command::Bench(_) | Command::Simulate(_)) => flags.push(("log.filter", "error".to_owned())),
        (None, _) => flags.push(("log.filter", "warn".to_owned())),
    }
    if let Command::Serve(serve) = &cli.command {
        flags.extend(serve.listen.map(|address| ("server.listen", address.to_string())));
        flags.extend(serve.public_url.clone().map(|url| ("server.public_url", url)));
    }
    config::load(Origins { file: config.clone(), env: std::env::vars().collect(), flags })
}

async fn dispatch(cli: Cli, settings: Settings) -> Result<ExitCode> {
    let json = cli.common.json;
    match cli.command {
        Command::Serve(args) => start(settings, args.role, args.start).await,
        Command::Worker(args) => start(settings, Role::Worker, args).await,
        Command::Sandbox(args) => commands::sandbox::run(&args, json).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Bench(what) => bench::run(what).await,
        Command::Simulate(args) => commands::simulate::run(&args).await,
        Command::Migrate(what) => commands::migrate::run(what, &settings, json).await,
        Command::Explain { needle, partner } => commands::explain::run(settings, &needle, partner, json).await,
        Command::Verify => commands::verify::run(settings, json).await,
        Command::Sentence { partner } => commands::sentence::run(settings, partner, json).await,
        Command::Doctor { offline } => commands::doctor::run(settings, offline, json).await,
        Command::Admin(cli::Admin::Key(cli::AdminKey::Create { label, role, partner })) => {
            commands::admin::create_key(settings, label, role, partner, json).await
        }
        Command::Config(cli::ConfigCommand::Check) => commands::config_check::run(&settings, json),
    }
}

async fn start(settings: Settings, role: Role, args: cli::Start) -> Result<ExitCode> {
    let house = house::build(settings, Permits { migrate: args.migrate, init: args.init }).await?;
    serve::run(house, role, args.init).await?;
    Ok(ExitCode::SUCCESS)
}
