//! The command line. Secrets never stand in it: they come from files or the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

/// Payment Vault: every shilling that passes through is explained, or it is on somebody's list.
#[derive(Debug, Parser)]
#[command(name = "payvault", version, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// The settings file [default: payvault.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "PAYVAULT_CONFIG")]
    pub config: Option<PathBuf>,
    /// The folder of the private database and of the keys [default: .payvault]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What is logged, for example info,pv_transport=debug
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// Answer as JSON, where a machine may read it
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve requests and do the background work, until SIGTERM
    Serve(Serve),
    /// Do the background work only (serve --role worker)
    Worker(Start),
    /// Run the outside world, simulated: M-Pesa, Mifos X, SMS, phones
    Sandbox(Sandbox),
    /// Show the whole on this machine, with faults, in half a minute: nothing to configure, nothing left behind
    Demo(crate::demo::Args),
    /// Measure it on this machine
    #[command(subcommand)]
    Bench(crate::bench::Bench),
    /// Run the whole product under seeds, with faults; the last line is JSON
    Simulate(Simulate),
    /// Change or show the schema of the database
    #[command(subcommand)]
    Migrate(Migrate),
    /// Show the path of anything: a receipt, a phone, a loan, an id
    Explain {
        /// What to look for
        needle: String,
        /// Look at one partner only
        #[arg(long)]
        partner: Option<Uuid>,
    },
    /// Compute everything again and compare
    Verify,
    /// Say in one sentence whether all money is explained
    Sentence {
        /// For one partner
        #[arg(long)]
        partner: Option<Uuid>,
    },
    /// Look whether everything is in its place: database, clock, keys, connections
    Doctor {
        /// Do not call the outside: no tokens, no core, no gateway
        #[arg(long)]
        offline: bool,
    },
    /// For emergencies at the machine
    #[command(subcommand)]
    Admin(Admin),
    /// The settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Requests
    Web,
    /// Background work
    Worker,
    /// Both
    Both,
}

impl Role {
    /// Listens.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Web | Self::Both)
    }

    /// Runs steps.
    pub const fn works(self) -> bool {
        matches!(self, Self::Worker | Self::Both)
    }

    /// In logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Worker => "worker",
            Self::Both => "both",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Start {
    /// Run missing migrations first (the private database is always brought up)
    #[arg(long)]
    pub migrate: bool,
    /// First start of a production installation: make the keys and show the first API key
    #[arg(long)]
    pub init: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// What this process does
    #[arg(long, value_enum, default_value_t = Role::Both)]
    pub role: Role,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The address under which providers and partners reach us
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    #[command(flatten)]
    pub start: Start,
}

#[derive(Debug, Clone, Args)]
pub struct Sandbox {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// The port of M-Pesa; 0: any
    #[arg(long, default_value_t = 7101)]
    pub mpesa_port: u16,
    /// The port of Mifos X; 0: any
    #[arg(long, default_value_t = 7102)]
    pub mifos_port: u16,
    /// The port of the SMS gateway; 0: any
    #[arg(long, default_value_t = 7103)]
    pub sms_port: u16,
    /// The seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many loans wait for their money at the start
    #[arg(long, default_value_t = 5)]
    pub loans: u32,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Simulate {
    /// How many seeds
    #[arg(long, default_value_t = 20)]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// Seeds at the same time, each with a database of its own
    #[arg(long, default_value_t = 2)]
    pub lanes: u64,
    /// Tell the story of every seed, not only of those that fail
    #[arg(long)]
    pub story: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Migrate {
    /// Run what has not run
    Up,
    /// Take back, newest first; rows in the tables they made are lost
    Down {
        /// Keep migrations up to this number
        #[arg(long, value_name = "N", default_value_t = 0)]
        to: i64,
        /// Yes, rows will be lost
        #[arg(long)]
        yes: bool,
    },
    /// Show what has run
    Status,
}

#[derive(Debug, Subcommand)]
pub enum Admin {
    /// API keys
    #[command(subcommand)]
    Key(AdminKey),
}

#[derive(Debug, Subcommand)]
pub enum AdminKey {
    /// Make a key; it is shown once
    Create {
        /// What it is for
        #[arg(long)]
        label: String,
        /// What it may do: a role of the table roles
        #[arg(long, default_value = "platform_admin")]
        role: String,
        /// Whose; without it: the platform's
        #[arg(long)]
        partner: Option<Uuid>,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Read the settings, check them, and show what is in force
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_role_does_what_its_name_says() {
        assert!(Role::Both.serves() && Role::Both.works());
        assert!(Role::Web.serves() && !Role::Web.works());
        assert!(!Role::Worker.serves() && Role::Worker.works());
    }
}
