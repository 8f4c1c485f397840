//! Is the server of a folder running? Read from `postmaster.pid` and asked at its socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// What is known about the server of a data folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It accepts sessions at the socket in this folder.
    Running { socket_dir: PathBuf },
    /// It lives, but does not accept sessions: it starts, recovers or shuts down.
    Busy,
    /// `postmaster.pid` names a living process that is not the server of this folder (the machine or the container was
    /// restarted and the number was given to another).
    Stale,
    /// It does not run.
    Stopped,
}

pub(super) fn state(pgdata: &Path) -> State {
    let Ok(text) = fs::read_to_string(pgdata.join("postmaster.pid")) else {
        return State::Stopped;
    };
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.trim().parse::<u32>().ok());
    // PostgreSQL documents the order: pid, folder, start time, port, socket folder, listen address, memory key, status.
    let socket_dir = lines.nth(3).map(|line| PathBuf::from(line.trim())).filter(|dir| dir.is_absolute());
    if let Some(socket_dir) = socket_dir
        && answers(&socket_dir)
    {
        return State::Running { socket_dir };
    }
    match pid {
        Some(pid) if is_server_of(pid, pgdata) => State::Busy,
        Some(pid) if is_alive(pid) => State::Stale,
        // Nobody has this number. PostgreSQL finds that out by itself, and also checks, by the memory key in the file,
        // that no session of the dead server lives on; so the file stays.
        Some(_) | None => State::Stopped,
    }
}

/// Writes an impossible process number into a stale `postmaster.pid`. The file is not removed: its memory key
/// lets PostgreSQL refuse to start while a session of the old server still lives.
pub(super) fn disown(pgdata: &Path, socket_dir: &Path) -> std::io::Result<()> {
    let file = pgdata.join("postmaster.pid");
    let text = fs::read_to_string(&file)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(&file, format!("{}\n{rest}", i32::MAX))?;
    for name in [".s.PGSQL.5432.lock", ".s.PGSQL.5432"] {
        let _ = fs::remove_file(socket_dir.join(name));
    }
    Ok(())
}

/// Opens a session and looks whether the server lets us in. Written by hand (one message of the protocol's version 3)
/// because it runs before there is any runtime.
fn answers(socket_dir: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket_dir.join(".s.PGSQL.5432")) else {
        return false;
    };
    let limit = Some(Duration::from_secs(5));
    if stream.set_read_timeout(limit).is_err() || stream.set_write_timeout(limit).is_err() {
        return false;
    }
    let body = format!("user\0{}\0database\0postgres\0\0", super::ADMIN);
    let Ok(length) = u32::try_from(body.len() + 8) else {
        return false;
    };
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&196_608_u32.to_be_bytes());
    message.extend_from_slice(body.as_bytes());
    let mut answer = [0_u8; 512];
    let length = stream.write_all(&message).and_then(|()| stream.read(&mut answer)).unwrap_or(0);
    let answer = answer.get(..length).unwrap_or_default();
    let accepted = is_acceptance(answer);
    if accepted {
        // Terminate, so that the server does not log a lost client.
        let _ = stream.write_all(&[b'X', 0, 0, 0, 4]);
    }
    accepted
}

/// `R`: let in. `E`: refused, which mostly is "starting up" or "shutting down"; but a full server (SQLSTATE 53300) is a running one.
fn is_acceptance(answer: &[u8]) -> bool {
    match answer.first() {
        Some(b'R') => true,
        Some(b'E') => answer.windows(6).any(|field| field == b"C53300"),
        _ => false,
    }
}

fn is_alive(pid: u32) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new(&format!("/proc/{pid}")).exists();
    }
    ps(pid).is_some()
}

/// The server works in its data folder, so its working directory tells it from any other process.
fn is_server_of(pid: u32, pgdata: &Path) -> bool {
    if Path::new("/proc/self").exists() {
        let (Ok(works_in), Ok(pgdata)) = (fs::read_link(format!("/proc/{pid}/cwd")), fs::canonicalize(pgdata)) else {
            return false;
        };
        return works_in == pgdata;
    }
    ps(pid).is_some_and(|command| command.contains("postgres"))
}

fn ps(pid: u32) -> Option<String> {
    let output = Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::is_acceptance;

    #[test]
    fn a_full_server_runs_and_a_starting_one_does_not_yet() {
        assert!(is_acceptance(b"R\0\0\0\x08\0\0\0\0"));
        assert!(is_acceptance(b"E\0\0\0\x40SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"));
        assert!(!is_acceptance(b"E\0\0\0\x40SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"));
        assert!(!is_acceptance(b""));
    }
}
