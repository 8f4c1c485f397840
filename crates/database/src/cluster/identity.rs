//! Under which user of the machine the server runs. PostgreSQL refuses to run as root.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::ClusterError;

/// The user of the machine under which the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The numeric user.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// True when this process is root and steps down to `uid`.
    pub steps_down: bool,
}

impl Identity {
    /// Ourselves; or `postgres`, or else `nobody`, when we are root.
    pub fn of_server() -> Result<Self, ClusterError> {
        static KNOWN: OnceLock<Identity> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(*known);
        }
        let ask = |args: &[&str]| id(args).ok_or(ClusterError::NoUser);
        let mut found = Self { uid: ask(&["-u"])?, gid: ask(&["-g"])?, steps_down: false };
        if found.uid == 0 {
            found = ["postgres", "nobody"]
                .iter()
                .find_map(|name| Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])?, steps_down: true }))
                .ok_or(ClusterError::NoUser)?;
        }
        Ok(*KNOWN.get_or_init(|| found))
    }

    /// The numeric user of this process itself.
    pub fn own_uid() -> Result<u32, ClusterError> {
        id(&["-u"]).ok_or(ClusterError::NoUser)
    }

    /// A command that runs as this user, in the root folder, with messages in English and nothing to read.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        // These would redirect the tools to another server.
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE"] {
            command.env_remove(name);
        }
        if self.steps_down {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }
}

fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
